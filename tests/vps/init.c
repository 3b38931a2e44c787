/* /init of the throwaway VPS: a static program that loads the kernel modules of /m in name order,
 * sets QEMU's fixed user-mode network up, mounts /dev/vda and becomes systemd. It replaces a
 * distribution's initramfs, which takes longer than all the rest of the boot. */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STEP_US 5000

static void address(struct sockaddr *to, const char *ip)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    inet_aton(ip, &in.sin_addr);
    memcpy(to, &in, sizeof(in));
}

static void link_up(int s, const char *name, const char *ip)
{
    struct ifreq r = {0};
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    for (int i = 0; i < 100 && ioctl(s, SIOCGIFFLAGS, &r) != 0; i++)
        usleep(STEP_US);
    if (ip) {
        address(&r.ifr_addr, ip);
        ioctl(s, SIOCSIFADDR, &r);
        address(&r.ifr_netmask, "255.255.255.0");
        ioctl(s, SIOCSIFNETMASK, &r);
    }
    ioctl(s, SIOCGIFFLAGS, &r);
    r.ifr_flags |= IFF_UP;
    ioctl(s, SIOCSIFFLAGS, &r);
}

/* QEMU's user-mode network always has this plan, so nothing has to ask for an address. */
static void network(void)
{
    struct rtentry t = {.rt_flags = RTF_UP | RTF_GATEWAY};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    link_up(s, "lo", NULL);
    link_up(s, "eth0", "10.0.2.15");
    address(&t.rt_dst, "0.0.0.0");
    address(&t.rt_genmask, "0.0.0.0");
    address(&t.rt_gateway, "10.0.2.2");
    if (ioctl(s, SIOCADDRT, &t) != 0)
        perror("default route");
    close(s);
}

static void modules(void)
{
    struct dirent **names;
    int n = scandir("/m", &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char path[300];
        if (names[i]->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/m/%s", names[i]->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0)
            perror(path);
        if (fd >= 0)
            close(fd);
    }
}

int main(void)
{
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    modules();
    network();
    for (int i = 0; i < 400 && access("/dev/vda", F_OK) != 0; i++)
        usleep(STEP_US);
    if (mount("/dev/vda", "/root", "ext4", MS_NOATIME, "") != 0) {
        perror("mount /dev/vda");
        sleep(9);
        return 1;
    }
    mount("/dev", "/root/dev", NULL, MS_MOVE, NULL);
    if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 ||
        chdir("/") != 0) {
        perror("switch root");
        return 1;
    }
    execl("/sbin/init", "/sbin/init", (char *)NULL);
    perror("/sbin/init");
    return 1;
}
