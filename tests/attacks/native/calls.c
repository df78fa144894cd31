/* System calls of an attacker who runs machine code of their own. Position-independent, without a C library, without
 * data that would need relocation: the same bytes run as a program (`_start`) and as code that was written into a
 * process (`blob`). Arguments are chosen so that nothing happens where a call is allowed: the question is whether the
 * kernel looks at them at all. Each call writes `name TAB errno` to a descriptor.
 *
 *   blob(group, fd, parent)   one group of calls; answers go to fd; `parent` is the sandbox's, 0 for the caller's own
 *   calls GROUP PARENT        the same as a program; answers go to standard output
 */
#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

static inline __attribute__((always_inline)) long call6(long n, long a, long b, long c, long d, long e, long f)
{
    long r;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}
#define CALL(n, a, b, c, d, e, f) call6((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* The bytes of a text, on the stack: nothing here may need a relocation. */
static void put(int fd, const char *text)
{
    size_t n = 0;
    while (text[n])
        n++;
    CALL(__NR_write, fd, text, n, 0, 0, 0);
}

static void name_of(int fd, long code)
{
    switch (code) {
    case 1: put(fd, "EPERM"); return;
    case 2: put(fd, "ENOENT"); return;
    case 9: put(fd, "EBADF"); return;
    case 11: put(fd, "EAGAIN"); return;
    case 13: put(fd, "EACCES"); return;
    case 14: put(fd, "EFAULT"); return;
    case 22: put(fd, "EINVAL"); return;
    case 38: put(fd, "ENOSYS"); return;
    case 97: put(fd, "EAFNOSUPPORT"); return;
    }
    char digits[8];
    int at = 7;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + code % 10);
        code /= 10;
    } while (code && at);
    put(fd, "errno ");
    put(fd, digits + at);
}

static void tell(int fd, const char *name, long r)
{
    put(fd, name);
    put(fd, "\t");
    if (r < 0)
        name_of(fd, -r);
    else
        put(fd, "done");
    put(fd, "\n");
}

#define TRY(name, n, a, b, c, d, e, f) tell(fd, name, CALL(n, a, b, c, d, e, f))
#define BAD ((void *)-1L)

#define NEWNS 0x00020000L
#define NEWCGROUP 0x02000000L
#define NEWUTS 0x04000000L
#define NEWIPC 0x08000000L
#define NEWUSER 0x10000000L
#define NEWPID 0x20000000L
#define NEWNET 0x40000000L

static void clone_with(int fd, const char *name, long flags)
{
    long r = CALL(__NR_clone, flags | 17 /* SIGCHLD */, 0, 0, 0, 0, 0);
    if (r == 0)
        CALL(__NR_exit_group, 0, 0, 0, 0, 0, 0);
    if (r > 0)
        CALL(__NR_wait4, r, 0, 0, 0, 0, 0);
    tell(fd, name, r);
}

static void namespaces(int fd)
{
    TRY("unshare user", __NR_unshare, NEWUSER, 0, 0, 0, 0, 0);
    TRY("unshare mount", __NR_unshare, NEWNS, 0, 0, 0, 0, 0);
    TRY("unshare net", __NR_unshare, NEWNET, 0, 0, 0, 0, 0);
    TRY("unshare pid", __NR_unshare, NEWPID, 0, 0, 0, 0, 0);
    TRY("unshare ipc", __NR_unshare, NEWIPC, 0, 0, 0, 0, 0);
    TRY("unshare uts", __NR_unshare, NEWUTS, 0, 0, 0, 0, 0);
    TRY("unshare cgroup", __NR_unshare, NEWCGROUP, 0, 0, 0, 0, 0);
    clone_with(fd, "clone user", NEWUSER);
    clone_with(fd, "clone net", NEWNET);
    clone_with(fd, "clone user and net", NEWUSER | NEWNET);
    /* clone3 with a size that no kernel takes: EINVAL says that it would have looked. */
    TRY("clone3", __NR_clone3, BAD, 7, 0, 0, 0, 0);
    TRY("setns", __NR_setns, 0, NEWNET, 0, 0, 0, 0);
}

static void mounts(int fd)
{
    TRY("mount tmpfs", __NR_mount, "audit", "/nowhere", "tmpfs", 0, 0, 0);
    TRY("mount bind", __NR_mount, "/", "/nowhere", 0, 4096, 0, 0);
    TRY("umount2", __NR_umount2, "/nowhere", 0, 0, 0, 0, 0);
    TRY("pivot_root", __NR_pivot_root, "/nowhere", "/nowhere", 0, 0, 0, 0);
    TRY("fsopen", __NR_fsopen, "nosuchfs", 0, 0, 0, 0, 0);
    TRY("fsconfig", __NR_fsconfig, -1, 0, 0, 0, 0, 0);
    TRY("fsmount", __NR_fsmount, -1, 0, 0, 0, 0, 0);
    TRY("move_mount", __NR_move_mount, -1, "", -1, "", 4, 0);
    TRY("open_tree", __NR_open_tree, -100, "/nowhere", 1, 0, 0, 0);
    TRY("mount_setattr", __NR_mount_setattr, -1, "", 0x1000, BAD, 32, 0);
    TRY("name_to_handle_at", __NR_name_to_handle_at, -100, "/", BAD, BAD, 0, 0);
    TRY("open_by_handle_at", __NR_open_by_handle_at, -1, BAD, 0, 0, 0, 0);
}

static void chroots(int fd)
{
    TRY("chroot", __NR_chroot, "/nowhere", 0, 0, 0, 0, 0);
    TRY("chroot .", __NR_chroot, ".", 0, 0, 0, 0, 0);
    TRY("setuid 0", __NR_setuid, 0, 0, 0, 0, 0, 0);
    TRY("setresuid 0", __NR_setresuid, 0, 0, 0, 0, 0, 0);
    TRY("setresgid 0", __NR_setresgid, 0, 0, 0, 0, 0, 0);
    TRY("setgroups", __NR_setgroups, 0, 0, 0, 0, 0, 0);
    TRY("capset", __NR_capset, BAD, BAD, 0, 0, 0, 0);
}

static void kernel_code(int fd)
{
    TRY("bpf", __NR_bpf, 0, BAD, 4, 0, 0, 0);
    TRY("perf_event_open", __NR_perf_event_open, BAD, 0, -1, -1, 0, 0);
    TRY("userfaultfd", __NR_userfaultfd, -1, 0, 0, 0, 0, 0);
    TRY("io_uring_setup", __NR_io_uring_setup, 1, BAD, 0, 0, 0, 0);
    TRY("io_uring_register", __NR_io_uring_register, -1, 0, 0, 0, 0, 0);
    TRY("io_setup", __NR_io_setup, 0, BAD, 0, 0, 0, 0);
    TRY("ptrace", __NR_ptrace, 99, 0, 0, 0, 0, 0);
    TRY("process_vm_readv", __NR_process_vm_readv, 1, BAD, 1, BAD, 1, 0);
    TRY("process_vm_writev", __NR_process_vm_writev, 1, BAD, 1, BAD, 1, 0);
    TRY("kcmp", __NR_kcmp, -1, -1, 9, 0, 0, 0);
    TRY("pidfd_getfd", __NR_pidfd_getfd, -1, 0, 0, 0, 0, 0);
    TRY("process_madvise", __NR_process_madvise, -1, BAD, 1, 0, 0, 0);
    TRY("modify_ldt", __NR_modify_ldt, 1, BAD, 0, 0, 0, 0);
    TRY("iopl", __NR_iopl, 9, 0, 0, 0, 0, 0);
    TRY("ioperm", __NR_ioperm, 0x10000, 1, 1, 0, 0, 0);
    TRY("vmsplice", __NR_vmsplice, -1, BAD, 1, 0, 0, 0);
    TRY("personality", __NR_personality, 0x0040000, 0, 0, 0, 0, 0);
    TRY("cachestat", 451, -1, BAD, BAD, 0, 0, 0);
    /* Programs for the kernel's BPF machine, by way of a socket that is allowed. */
    long s = CALL(__NR_socket, 1, 1, 0, 0, 0, 0);
    TRY("attach a BPF filter", __NR_setsockopt, s, 1, 26, BAD, 16, 0);
    TRY("attach a BPF program", __NR_setsockopt, s, 1, 50, BAD, 4, 0);
    CALL(__NR_close, s, 0, 0, 0, 0, 0);
}

static void keys(int fd)
{
    TRY("add_key", __NR_add_key, "user", "audit", BAD, 4, -3, 0);
    TRY("request_key", __NR_request_key, "user", "audit-none", 0, 0, 0, 0);
    TRY("keyctl get session", __NR_keyctl, 0, -3, 0, 0, 0, 0);
    TRY("keyctl read", __NR_keyctl, 11, -3, 0, 0, 0, 0);
    TRY("keyctl join session", __NR_keyctl, 1, BAD, 0, 0, 0, 0);
}

static void machine(int fd)
{
    TRY("kexec_load", __NR_kexec_load, 0, 99, BAD, 0, 0, 0);
    TRY("kexec_file_load", __NR_kexec_file_load, -1, -1, 0, 0, 0x1000, 0);
    TRY("init_module", __NR_init_module, BAD, 0, BAD, 0, 0, 0);
    TRY("finit_module", __NR_finit_module, -1, "", 0, 0, 0, 0);
    TRY("delete_module", __NR_delete_module, "no_such_module", 0, 0, 0, 0, 0);
    /* Wrong magic numbers: a kernel that takes the call says EINVAL, and does nothing. */
    TRY("reboot", __NR_reboot, 1, 2, 3, 0, 0, 0);
    TRY("swapon", __NR_swapon, "/nowhere", 0, 0, 0, 0, 0);
    TRY("swapoff", __NR_swapoff, "/nowhere", 0, 0, 0, 0, 0);
    TRY("settimeofday", __NR_settimeofday, BAD, 0, 0, 0, 0, 0);
    TRY("clock_settime", __NR_clock_settime, 0, BAD, 0, 0, 0, 0);
    TRY("adjtimex", __NR_adjtimex, BAD, 0, 0, 0, 0, 0);
    TRY("sethostname", __NR_sethostname, "audit", 5, 0, 0, 0, 0);
    TRY("setdomainname", __NR_setdomainname, "audit", 5, 0, 0, 0, 0);
    TRY("acct", __NR_acct, "/nowhere", 0, 0, 0, 0, 0);
    TRY("quotactl", __NR_quotactl, 0x800002, BAD, 0, 0, 0, 0);
    TRY("syslog", __NR_syslog, 3, BAD, 0, 0, 0, 0);
    TRY("lookup_dcookie", __NR_lookup_dcookie, 0, BAD, 0, 0, 0, 0);
    TRY("mknod", __NR_mknodat, -100, "/nowhere/x", 0020666, 0x101, 0, 0);
}

static void terminals(int fd)
{
    char letter[2] = {'x', 0};
    for (int tty = 0; tty <= 2; tty++)
        TRY("TIOCSTI", __NR_ioctl, tty, 0x5412, letter, 0, 0, 0);
    TRY("TIOCLINUX", __NR_ioctl, 0, 0x541c, letter, 0, 0, 0);
    TRY("TIOCSCTTY", __NR_ioctl, 0, 0x540e, 0, 0, 0, 0);
    TRY("TIOCSTI with high bits", __NR_ioctl, 0, 0x100005412L, letter, 0, 0, 0);
    TRY("open /dev/tty", __NR_open, "/dev/tty", 2, 0, 0, 0, 0);
    TRY("open /dev/ptmx", __NR_open, "/dev/ptmx", 2, 0, 0, 0, 0);
    TRY("open /dev/console", __NR_open, "/dev/console", 2, 0, 0, 0, 0);
}

static void family(int fd, const char *name, long number, long type, long protocol)
{
    long r = CALL(__NR_socket, number, type, protocol, 0, 0, 0);
    if (r >= 0)
        CALL(__NR_close, r, 0, 0, 0, 0, 0);
    tell(fd, name, r);
}

static void families(int fd)
{
    family(fd, "inet stream", 2, 1, 0);
    family(fd, "inet datagram", 2, 2, 0);
    family(fd, "inet raw", 2, 3, 1);
    family(fd, "icmp", 2, 2, 1);
    family(fd, "inet6 stream", 10, 1, 0);
    family(fd, "netlink route", 16, 3, 0);
    family(fd, "netlink netfilter", 16, 3, 12);
    family(fd, "packet", 17, 3, 0);
    family(fd, "vsock", 40, 1, 0);
    family(fd, "alg", 38, 5, 0);
    family(fd, "key", 15, 3, 2);
    family(fd, "bluetooth", 31, 3, 1);
    family(fd, "can", 29, 3, 1);
    family(fd, "tipc", 30, 1, 0);
    family(fd, "xdp", 44, 3, 0);
    family(fd, "rds", 21, 5, 0);
    family(fd, "smc", 43, 1, 0);
    family(fd, "mptcp", 2, 1, 262);
    family(fd, "x25", 9, 5, 0);
    family(fd, "family 1 in the low half", 0x100000002L, 1, 0);
}

static void privileges(int fd)
{
    TRY("seccomp listener", __NR_seccomp, 1, 8, BAD, 0, 0, 0);
    TRY("seccomp strict", __NR_seccomp, 0, 1, 0, 0, 0, 0);
    TRY("prctl no_new_privs off", __NR_prctl, 38, 0, 0, 0, 0, 0);
    TRY("prctl keepcaps", __NR_prctl, 8, 1, 0, 0, 0, 0);
    TRY("prctl securebits", __NR_prctl, 28, 0, 0, 0, 0, 0);
    TRY("prctl ambient", __NR_prctl, 47, 2, 0, 0, 0, 0);
    TRY("prctl mm", __NR_prctl, 35, 1, BAD, 0, 0, 0);
    TRY("prctl subreaper", __NR_prctl, 36, 1, 0, 0, 0, 0);
    TRY("prctl tsc", __NR_prctl, 26, 1, 0, 0, 0, 0);
    TRY("prctl ptracer", __NR_prctl, 0x59616d61, -1, 0, 0, 0, 0);
    TRY("landlock", __NR_landlock_create_ruleset, BAD, 8, 0, 0, 0, 0);
    TRY("memfd_create", __NR_memfd_create, "audit", 0, 0, 0, 0, 0);
    TRY("memfd_secret", __NR_memfd_secret, 0, 0, 0, 0, 0, 0);
}

static void priorities(int fd)
{
    int zero[12] = {48, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    TRY("setpriority", __NR_setpriority, 0, 0, -20, 0, 0, 0);
    TRY("sched_setscheduler", __NR_sched_setscheduler, 0, 1, zero + 1, 0, 0, 0);
    TRY("sched_setparam", __NR_sched_setparam, 0, BAD, 0, 0, 0, 0);
    TRY("sched_setattr", __NR_sched_setattr, 0, BAD, 0, 0, 0, 0);
    TRY("sched_setaffinity", __NR_sched_setaffinity, 0, 8, BAD, 0, 0, 0);
    TRY("ioprio_set", __NR_ioprio_set, 1, 0, (1 << 13) | 0, 0, 0, 0);
    TRY("mlockall", __NR_mlockall, 4, 0, 0, 0, 0, 0);
    TRY("mlock", __NR_mlock, BAD, 1, 0, 0, 0, 0);
    TRY("mbind", __NR_mbind, BAD, 1, 99, 0, 0, 0);
    TRY("set_mempolicy", __NR_set_mempolicy, 99, 0, 0, 0, 0, 0);
    TRY("migrate_pages", __NR_migrate_pages, 0, 1, BAD, BAD, 0, 0);
}

static void shared(int fd)
{
    TRY("shmget", __NR_shmget, 0x0a0d17, 4096, 03666, 0, 0, 0);
    TRY("semget", __NR_semget, 0x0a0d17, 1, 01666, 0, 0, 0);
    TRY("msgget", __NR_msgget, 0x0a0d17, 01666, 0, 0, 0, 0);
    TRY("mq_open", __NR_mq_open, "audit", 0102, 0666, 0, 0, 0);
}

/* What shared, read-only files tell of everybody else who uses them, or do to them. */
static void watching(int fd)
{
    char page[16];
    long vector[2] = {(long)page, sizeof page};
    long file = CALL(__NR_open, "/proc/self/exe", 0, 0, 0, 0, 0);
    long root = CALL(__NR_open, "/", 0200000, 0, 0, 0, 0);
    long watch = CALL(__NR_inotify_init1, 0, 0, 0, 0, 0, 0);
    tell(fd, "inotify", watch);
    TRY("watch the program", __NR_inotify_add_watch, watch, "/proc/self/exe", 0x20, 0, 0, 0);
    TRY("watch the root", __NR_inotify_add_watch, watch, "/", 0x21, 0, 0, 0);
    TRY("fanotify", __NR_fanotify_init, 0x200, 0, 0, 0, 0, 0);
    TRY("notify of the root", __NR_fcntl, root, 1026, 0x20, 0, 0, 0);
    TRY("a signal when it is used", __NR_fcntl, root, 10, 10, 0, 0, 0);
    TRY("own what is used", __NR_fcntl, root, 8, 1, 0, 0, 0);
    TRY("lease on the program", __NR_fcntl, file, 1024, 0, 0, 0, 0);
    TRY("lock the program", __NR_flock, file, 6, 0, 0, 0, 0);
    TRY("forget its pages", __NR_fadvise64, file, 0, 4096, 4, 0, 0);
    TRY("read ahead", __NR_readahead, file, 0, 4096, 0, 0, 0);
    TRY("only what is in memory", __NR_preadv2, file, vector, 1, 0, 0, 8);
    TRY("which pages are in memory", __NR_mincore, 0, 0, page, 0, 0, 0);
    /* On no pages: the question is whether the advice is taken at all. */
    TRY("merge with equal pages", __NR_madvise, 0, 0, 12, 0, 0, 0);
    CALL(__NR_close, watch, 0, 0, 0, 0, 0);
    CALL(__NR_close, root, 0, 0, 0, 0, 0);
    CALL(__NR_close, file, 0, 0, 0, 0, 0);
}

/* The clock of a process: the time that it has used (clock_getcpuclockid). */
#define CLOCK_OF(pid) ((~(pid)) << 3 | 2)

/* Parents, and what else makes a process kin to another. */
static void kin(int fd, long parent)
{
    char room[16];
    if (parent == 0)
        parent = CALL(__NR_getppid, 0, 0, 0, 0, 0, 0);
    clone_with(fd, "a child for its parent", 0x8000 /* CLONE_PARENT */);
    clone_with(fd, "a child for its tracer", 0x2000 /* CLONE_PTRACE */);
    TRY("die with its parent", __NR_prctl, 1, 9, 0, 0, 0, 0);
    TRY("clock of process 1", __NR_clock_gettime, CLOCK_OF(1L), room, 0, 0, 0, 0);
    TRY("clock of its parent", __NR_clock_gettime, CLOCK_OF(parent), room, 0, 0, 0, 0);
    TRY("timer on process 1", __NR_timer_create, CLOCK_OF(1L), 0, room, 0, 0, 0);
    long handle = CALL(__NR_pidfd_open, parent, 0, 0, 0, 0, 0);
    tell(fd, "handle on its parent", handle);
    TRY("descriptor of its parent", __NR_pidfd_getfd, handle, 0, 0, 0, 0, 0);
    TRY("signal by handle", __NR_pidfd_send_signal, handle, 0, 0, 0, 0, 0);
    TRY("limits of its parent", __NR_prlimit64, parent, 7, 0, room, 0, 0);
    TRY("limits of process 1", __NR_prlimit64, 1, 7, 0, room, 0, 0);
    if (handle >= 0)
        CALL(__NR_close, handle, 0, 0, 0, 0, 0);
    /* Who listened while the bundle was loaded: attack.cjs. Nobody there is as good as nobody to be reached. */
    struct {
        unsigned short family;
        char name[16];
    } address = {1, {0, 'b', 'u', 'l', 'k', 'h', 'e', 'a', 'd', '-', 'k', 'i', 'n'}};
    long s = CALL(__NR_socket, 1, 1, 0, 0, 0, 0);
    long r = CALL(__NR_connect, s, &address, 2 + 13, 0, 0, 0);
    tell(fd, "a socket from when it was loaded", r == -111 ? -1 : r);
    CALL(__NR_close, s, 0, 0, 0, 0, 0);
}

static void raise_limit(int fd, const char *name, long resource)
{
    unsigned long limit[2] = {~0UL, ~0UL};
    TRY(name, __NR_prlimit64, 0, resource, limit, 0, 0, 0);
}

static void limits(int fd)
{
    raise_limit(fd, "core dumps", 4);
    raise_limit(fd, "open files", 7);
    raise_limit(fd, "locked memory", 8);
    raise_limit(fd, "message queues", 12);
    raise_limit(fd, "nice", 13);
    raise_limit(fd, "real-time priority", 14);
}

static void rest(long ms)
{
    long time[2] = {ms / 1000, ms % 1000 * 1000000};
    CALL(__NR_nanosleep, time, 0, 0, 0, 0, 0);
}

static void leave_file(const char *name)
{
    long r = CALL(__NR_open, name, 0101 /* O_CREAT | O_WRONLY */, 0666, 0, 0, 0);
    if (r >= 0)
        CALL(__NR_close, r, 0, 0, 0, 0, 0);
}

static long seconds(void)
{
    long time[2] = {0, 0};
    CALL(__NR_clock_gettime, 1, time, 0, 0, 0, 0);
    return time[0];
}

/* A process by itself, that nobody waits for. */
static void detach(void)
{
    CALL(__NR_setsid, 0, 0, 0, 0, 0, 0);
    CALL(__NR_close_range, 0, 0x7fffffff, 0, 0, 0, 0);
}

/* Lives on in a child, and that in a child of its own, faster than anybody can look for it; for so long. */
static void hop(int fd, long most)
{
    long r = CALL(__NR_fork, 0, 0, 0, 0, 0, 0);
    if (r == 0) {
        detach();
        long end = seconds() + most;
        for (long hops = 0; hops % 64 || seconds() < end; hops++) {
            if (hops % 16 == 0)
                leave_file("hopper");
            long child = CALL(__NR_fork, 0, 0, 0, 0, 0, 0);
            if (child != 0)
                CALL(__NR_exit_group, 0, 0, 0, 0, 0, 0);
        }
        CALL(__NR_exit_group, 0, 0, 0, 0, 0, 0);
    }
    tell(fd, "go on in children", r);
}

#define THREAD 0x10f00L /* CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD */

/* A process whose first thread has left: it looks like a corpse, and its other thread goes on for so long. */
static void behead(int fd, long most)
{
    long r = CALL(__NR_fork, 0, 0, 0, 0, 0, 0);
    if (r == 0) {
        detach();
        /* The thread starts on the same stack, as after fork, and must not come back to where the first one was. */
        long stack = CALL(__NR_mmap, 0, 65536, 3, 0x22, -1, 0);
        long thread;
        register long r10 __asm__("r10") = 0;
        register long r8 __asm__("r8") = 0;
        register long r12 __asm__("r12") = seconds() + most;
        __asm__ volatile("syscall\n"
                         "test %%rax, %%rax\n"
                         "jnz 1f\n"
                         "mov %%r12, %%rdi\n"
                         "and $-16, %%rsp\n"
                         "call headless\n"
                         "1:\n"
                         : "=a"(thread)
                         : "a"(__NR_clone), "D"(THREAD), "S"(stack + 65536 - 64), "d"(0), "r"(r10), "r"(r8), "r"(r12)
                         : "rcx", "r11", "memory");
        CALL(__NR_exit, 0, 0, 0, 0, 0, 0);
    }
    tell(fd, "go on without a first thread", r);
}

__attribute__((used)) static void headless(long end)
{
    while (seconds() < end) {
        leave_file("headless");
        rest(2);
    }
    CALL(__NR_exit_group, 0, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}

/* Parks descriptors in a socket, where they count for nobody's limit of open files. */
static void park(int fd)
{
    int pair[2];
    int many[250];
    long parked = 0;
    for (int n = 0; n < 250; n++)
        many[n] = 0;
    while (parked < 20000) {
        if (CALL(__NR_socketpair, 1, 1, 0, pair, 0, 0) < 0)
            break;
        for (int packets = 0; packets < 16; packets++) {
            char byte = 0;
            struct {
                void *base;
                unsigned long length;
            } vector = {&byte, 1};
            struct {
                unsigned long length;
                int level, type;
                int fds[250];
            } control;
            control.length = sizeof control;
            control.level = 1;
            control.type = 1;
            for (int n = 0; n < 250; n++)
                control.fds[n] = many[n];
            struct {
                void *name;
                unsigned long name_length;
                void *vectors;
                unsigned long count;
                void *control;
                unsigned long control_length;
                long flags;
            } message = {0, 0, &vector, 1, &control, sizeof control, 0};
            long r = CALL(__NR_sendmsg, pair[0], &message, 0x4040 /* MSG_DONTWAIT | MSG_NOSIGNAL */, 0, 0, 0);
            if (r < 0 && r != -11)
                goto refused;
            if (r < 0)
                break;
            parked += 250;
        }
    }
refused:
    tell(fd, "park twenty thousand descriptors", parked < 20000 ? -1 : 0);
}

__attribute__((section(".text.blob"))) long blob(long group, long fd, long parent);
long blob(long group, long fd_, long parent)
{
    int fd = (int)fd_;
    switch (group) {
    case 1: namespaces(fd); return 0;
    case 2: mounts(fd); return 0;
    case 3: chroots(fd); return 0;
    case 4: kernel_code(fd); return 0;
    case 6: keys(fd); return 0;
    case 7: machine(fd); return 0;
    case 8: terminals(fd); return 0;
    case 9: families(fd); return 0;
    case 10: priorities(fd); return 0;
    case 12: privileges(fd); return 0;
    case 13: shared(fd); return 0;
    case 14: watching(fd); return 0;
    case 15: kin(fd, parent); return 0;
    case 16: hop(fd, 60); return 0;
    case 17: behead(fd, 60); return 0;
    case 18: limits(fd); return 0;
    case 19: park(fd); return 0;
    /* Natively it ends by itself before long. */
    case 26: hop(fd, 4); return 0;
    case 27: behead(fd, 4); return 0;
    }
    return -1;
}
