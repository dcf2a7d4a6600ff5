"""Into Python: recurrent layers of torch, ONNX and Keras as ours."""
