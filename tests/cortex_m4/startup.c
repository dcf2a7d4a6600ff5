/* The start of a program on a Cortex-M4 with a floating-point unit, under semihosting. */
#include <stdint.h>

extern char __stack[];
void _start(void); /* newlib's: it prepares memory and calls main */

void reset(void)
{
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: full access to the unit */
    __asm volatile("dsb\n\tisb");
    _start();
}

static void fault(void)
{
    for (;;) {
    }
}

/* The processor begins with the first two: the top of the stack, and the function to run. */
struct vectors {
    const void *stack;
    void (*handlers[15])(void);
};

__attribute__((section(".vectors"), used)) static const struct vectors vectors = {
    __stack, {reset, fault, fault, fault, fault, fault},
};
