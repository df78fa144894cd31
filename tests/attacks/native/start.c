/* `calls GROUP`: the calls of calls.c as a program. */
long blob(long group, long fd);

__attribute__((used)) static void begin(long *stack)
{
    long group = 0;
    if (stack[0] > 1)
        for (const char *digit = (const char *)stack[2]; *digit; digit++)
            group = group * 10 + (*digit - '0');
    long status = blob(group, 1) == 0 ? 0 : 2;
    __asm__ volatile("syscall" : : "a"(231L), "D"(status) : "rcx", "r11", "memory");
    __builtin_unreachable();
}

__asm__(".globl _start\n_start:\n  mov %rsp, %rdi\n  and $-16, %rsp\n  call begin\n");
