/* `calls GROUP PARENT`: the calls of calls.c as a program; the process that stands for its parent, as another number. */
long blob(long group, long fd, long parent);

static long number(const char *digit)
{
    long value = 0;
    for (; *digit; digit++)
        value = value * 10 + (*digit - '0');
    return value;
}

__attribute__((used)) static void begin(long *stack)
{
    long group = stack[0] > 1 ? number((const char *)stack[2]) : 0;
    long parent = stack[0] > 2 ? number((const char *)stack[3]) : 0;
    long status = blob(group, 1, parent) == 0 ? 0 : 2;
    __asm__ volatile("syscall" : : "a"(231L), "D"(status) : "rcx", "r11", "memory");
    __builtin_unreachable();
}

__asm__(".globl _start\n_start:\n  mov %rsp, %rdi\n  and $-16, %rsp\n  call begin\n");
