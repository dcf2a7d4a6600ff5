"""A trained model as a server: predictions for rows, and streams with a state each.

    gw.serve.run("runs/vowels")     what `gatewright serve` calls
    gw.serve.Limits                 what clients may take of memory and time

It needs `pip install 'gatewright[serve]'`. For a server of your own, `serve.app.create_app` makes
the application of a `serve.service.Service`.
"""

from gatewright.serve.limits import Limits
from gatewright.serve.server import run

__all__ = ["Limits", "run"]
