/* The stack against the kernel's TCP, over a tap and over a veth pair.

   Needs root: each test makes a network namespace of its own, which goes with its process.  The kernel's end
   is a thread with blocking sockets in the same process. */
#include "node.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	RUN_MS = 25000,
	PORT_OURS = NODE_PORT + 1, /* where the stack listens */
	PORT_DEAF = NODE_PORT + 2,
	CHUNK = 16384,
};

static const uint64_t echo_sz = UINT64_C(8) << 20;

/* ---- the kernel's end ---- */

static bool write_all(int fd, const uint8_t *p, size_t sz)
{
	while (sz != 0) {
		ssize_t n = write(fd, p, sz);

		if (n <= 0)
			return false;
		p += n;
		sz -= (size_t)n;
	}
	return true;
}

static struct sockaddr_in kernel_addr(uint32_t ip, uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(ip)};
}

/* First connection: echoes until the end of file.  Second: reset after the first byte.  Then dials the
   stack, which streams echo_sz bytes and closes. Returns the number of bytes read there if all are right. */
static void *kernel_end(void *arg)
{
	int listener = *(int *)arg;
	struct sockaddr_in to = kernel_addr(0x0a090802, PORT_OURS);
	uint8_t *buf = malloc(CHUNK);
	uint64_t at = 0;
	ssize_t n = -1;
	int fd = accept(listener, NULL, NULL);

	while (fd >= 0 && (n = read(fd, buf, CHUNK)) > 0)
		if (!write_all(fd, buf, (size_t)n))
			break;
	close(fd);
	fd = accept(listener, NULL, NULL);
	if (fd >= 0 && read(fd, buf, 1) == 1) {
		const struct linger now = {.l_onoff = 1};

		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	}
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		while ((n = read(fd, buf, CHUNK)) > 0 && node_check(buf, (size_t)n, 2, at))
			at += (uint64_t)n;
	close(fd);
	free(buf);
	return (void *)(uintptr_t)(n == 0 ? at : 0);
}

static bool start_kernel_end(pthread_t *thread)
{
	static int listener;
	struct sockaddr_in a = kernel_addr(0x0a090801, NODE_PORT);

	listener = socket(AF_INET, SOCK_STREAM, 0);
	return listener >= 0 && bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	       listen(listener, 4) == 0 && pthread_create(thread, NULL, kernel_end, &listener) == 0;
}

/* ---- the stack's end ---- */

struct side {
	uint64_t sent, got, total, stream;
	unsigned connected;
	enum net_close_reason why;
	bool bad, done;
};

static void send_on(void *arg, struct net_conn *c)
{
	struct side *s = arg;
	uint8_t buf[4096];

	while (s->sent < s->total) {
		size_t room = net_send_room(c);
		size_t sz = s->total - s->sent < sizeof(buf) ? s->total - s->sent : sizeof(buf);

		sz = sz < room ? sz : room;
		node_fill(buf, sz, s->stream, s->sent);
		sz = net_send(c, buf, sz);
		if (sz == 0)
			return;
		s->sent += sz;
	}
	/* What echoes waits for its echo, what only sends has done its part. */
	if (s->stream == 2)
		net_close(c);
}

static void side_connected(void *arg, struct net_conn *c)
{
	struct side *s = arg;

	s->connected++;
	send_on(arg, c);
}

static void side_data(void *arg, struct net_conn *c, const uint8_t *p, size_t sz)
{
	struct side *s = arg;

	if (!node_check(p, sz, s->stream, s->got))
		s->bad = true;
	s->got += sz;
	net_consumed(c, sz);
	if (s->got == s->total)
		net_close(c);
}

static void side_closed(void *arg, struct net_conn *c, enum net_close_reason why)
{
	struct side *s = arg;

	(void)c;
	s->why = why;
	s->done = true;
}

static const struct net_conn_ops side_ops = {side_connected, side_data, send_on, side_closed};

static void *side_accept(void *arg, const struct net_addr *from)
{
	(void)from;
	return arg;
}

static int talk_to_kernel(struct net *n)
{
	struct side deaf = {0}, echo = {.total = echo_sz, .stream = 1}, reset = {.total = 1000};
	struct side down = {.total = echo_sz, .stream = 2};
	pthread_t kernel;
	struct net_addr to;
	void *read_there;
	uint64_t start;

	NODE_REQUIRE(start_kernel_end(&kernel));
	NODE_REQUIRE(net_listen(n, PORT_OURS, &side_ops, side_accept, &down) == 0);
	node_server_addr(&to);
	to.port = PORT_DEAF;
	NODE_REQUIRE(net_connect(n, &to, &side_ops, &deaf) != NULL);
	NODE_REQUIRE(node_run_until(n, &deaf.done, RUN_MS));
	NODE_REQUIRE(deaf.why == NET_CLOSED_RESET && deaf.connected == 0);

	start = node_now_ns();
	node_server_addr(&to);
	NODE_REQUIRE(net_connect(n, &to, &side_ops, &echo) != NULL);
	NODE_REQUIRE(node_run_until(n, &echo.done, RUN_MS));
	NODE_REQUIRE(echo.why == NET_CLOSED_LOCAL && !echo.bad && echo.got == echo_sz);
	printf("# %.2f Gbit/s there and back at once\n",
	       (double)echo_sz * 16 / (double)(node_now_ns() - start));
	fflush(stdout);

	NODE_REQUIRE(net_connect(n, &to, &side_ops, &reset) != NULL);
	NODE_REQUIRE(node_run_until(n, &reset.done, RUN_MS));
	NODE_REQUIRE(reset.connected == 1 && reset.why == NET_CLOSED_RESET);

	NODE_REQUIRE(node_run_until(n, &down.done, RUN_MS));
	NODE_REQUIRE(down.why == NET_CLOSED_LOCAL);
	node_run_for(n, 50);
	NODE_REQUIRE(pthread_join(kernel, &read_there) == 0);
	NODE_REQUIRE((uintptr_t)read_there == echo_sz);
	return 0;
}

/* ---- devices ---- */

static bool run(const char *cmd)
{
	return system(cmd) == 0;
}

/* The kernel must not leave checksums or segmentation to a device that is none. */
static bool no_offloads(const char *ifname)
{
	static const uint32_t what[] = {ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	bool good = fd >= 0;

	for (size_t i = 0; i < sizeof(what) / sizeof(what[0]) && good; i++) {
		struct ethtool_value v = {.cmd = what[i]};
		struct ifreq r = {.ifr_data = (void *)&v};

		snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", ifname);
		good = ioctl(fd, SIOCETHTOOL, &r) == 0;
	}
	close(fd);
	return good;
}

static int over_tap(const struct node *self)
{
	const char *why;
	struct net *n;
	/* The port's own MAC is that of the kernel's side. */
	const struct net_config cfg = {.ip4 = {10, 9, 8, 2}, .prefix_len = 24, .mac = {2, 0, 0, 0, 0, 2}};

	(void)self;
	if (net_open(&n, &cfg, &why) != 0) {
		fprintf(stderr, "%s\n", why);
		return 1;
	}
	NODE_REQUIRE(run("ip addr add 10.9.8.1/24 dev vgtap0 && ip link set vgtap0 up"));
	NODE_REQUIRE(talk_to_kernel(n) == 0);
	net_free(n);
	return 0;
}

static int over_veth(const struct node *self)
{
	const char *why;
	struct net *n;
	const struct net_config cfg = {.ip4 = {10, 9, 8, 2}, .prefix_len = 24};

	(void)self;
	if (net_open(&n, &cfg, &why) != 0) {
		fprintf(stderr, "%s\n", why);
		return 1;
	}
	NODE_REQUIRE(talk_to_kernel(n) == 0);
	net_free(n);
	return 0;
}

/* The devices that need a namespace exist only in this process's own. */
static bool own_namespace(void)
{
	return unshare(CLONE_NEWNET) == 0 && run("ip link set lo up");
}

static bool can_have_namespaces(void)
{
	pid_t pid = fork();
	int st;

	if (pid == 0)
		_exit(own_namespace() && access("/dev/net/tun", R_OK | W_OK) == 0 ? 0 : 1);
	return pid > 0 && waitpid(pid, &st, 0) == pid && st == 0;
}

static void in_own_namespace(node_role *role, const char *prepare, const char *vdev)
{
	pid_t pid;
	int st;

	if (!can_have_namespaces()) {
		printf("SKIPPED: needs root, /dev/net/tun and iproute2 to make a network "
		       "namespace\n");
		skip();
	}
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (!own_namespace() || !run(prepare) ||
		    (strstr(prepare, "veth") != NULL && !no_offloads("vgk0")))
			_exit(1);
		_exit(node_run_alone(role, vdev) ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_int_equal(st, 0);
}

static void a_tap_talks_to_the_kernel(void **state)
{
	(void)state;
	in_own_namespace(over_tap, "true", "net_tap0,iface=vgtap0");
}

static void af_packet_talks_to_the_kernel(void **state)
{
	(void)state;
	in_own_namespace(over_veth,
			 "ip link add vgk0 type veth peer name vgd0 && "
			 "ip addr add 10.9.8.1/24 dev vgk0 && "
			 "ip link set vgk0 up && ip link set vgd0 up",
			 "net_af_packet0,iface=vgd0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tap_talks_to_the_kernel),
		cmocka_unit_test(af_packet_talks_to_the_kernel),
	};

	return cmocka_run_group_tests_name("net/kernel", tests, NULL, NULL);
}
