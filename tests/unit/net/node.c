#include "node.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <rte_eal.h>

enum {
	TEST_BOUND_S = 40,
	IDLE_SPINS = 100,
	IDLE_SLEEP_NS = 50000,
};

uint64_t node_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool node_run_until(struct net *n, const bool *flag, unsigned ms)
{
	uint64_t end = node_now_ns() + (uint64_t)ms * 1000000u;
	unsigned idle = 0;

	while (!*flag) {
		uint64_t now = node_now_ns();

		if (now >= end)
			break;
		idle = net_poll(n, now) != 0 ? 0 : idle + 1;
		if (idle > IDLE_SPINS)
			nanosleep(&(struct timespec){.tv_nsec = IDLE_SLEEP_NS}, NULL);
	}
	return *flag;
}

void node_run_for(struct net *n, unsigned ms)
{
	const bool never = false;

	node_run_until(n, &never, ms);
}

void node_server_addr(struct net_addr *a)
{
	net_addr_parse(a, "10.9.8.1", NODE_PORT);
}

bool node_mark(const struct node *self, const char *what)
{
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", self->dir, what);
	f = fopen(path, "w");
	return f != NULL && fclose(f) == 0;
}

bool node_await(const struct node *self, const char *what, unsigned ms)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%s", self->dir, what);
	for (unsigned i = 0; i < ms; i += 2) {
		if (access(path, F_OK) == 0)
			return true;
		node_run_for(self->net, 2);
	}
	return false;
}

/* Eight bytes at a time out of a hash of the place: what is missing, doubled or moved does not match. */
static uint8_t content(uint64_t stream, uint64_t at)
{
	uint64_t z = (at >> 3) * UINT64_C(0x9e3779b97f4a7c15) + stream;

	z = (z ^ z >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return (uint8_t)(z >> (8 * (at & 7)));
}

void node_fill(uint8_t *p, size_t sz, uint64_t stream, uint64_t at)
{
	for (size_t i = 0; i < sz; i++)
		p[i] = content(stream, at + i);
}

bool node_check(const uint8_t *p, size_t sz, uint64_t stream, uint64_t at)
{
	for (size_t i = 0; i < sz; i++)
		if (p[i] != content(stream, at + i))
			return false;
	return true;
}

/* The n-th allowed CPU, from the front for the server and from the back for the client. */
static int pick_cpu(bool server)
{
	cpu_set_t set;
	int found = 0;

	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof(set), &set);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &set))
			continue;
		found = i;
		if (server)
			break;
	}
	return found;
}

static bool start_eal(const struct node *self, const char *vdev)
{
	char lcores[32], prefix[64], dev[256];
	char *argv[] = {(char *)"test",
			(char *)"--no-huge",
			(char *)"-m",
			(char *)"128",
			(char *)"--no-pci",
			(char *)"--no-telemetry",
			(char *)"--no-shconf",
			(char *)"--log-level",
			(char *)"error",
			(char *)"--lcores",
			lcores,
			(char *)"--file-prefix",
			prefix,
			(char *)"--vdev",
			dev,
			NULL};

	setenv("XDG_RUNTIME_DIR", self->dir, 1);
	prctl(PR_SET_TIMERSLACK, 1);
	snprintf(lcores, sizeof(lcores), "0@%d", pick_cpu(self->server));
	snprintf(prefix, sizeof(prefix), "vigilt%d", (int)getpid());
	snprintf(dev, sizeof(dev), "%s", vdev);
	return rte_eal_init((int)(sizeof(argv) / sizeof(argv[0])) - 1, argv) >= 0;
}

static int child(node_role *role, struct node *self, const char *vdev, const struct net_config *faults)
{
	struct net_config cfg = {0};
	const char *why;
	int rc;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!start_eal(self, vdev)) {
		fprintf(stderr, "EAL does not start with %s\n", vdev);
		return 1;
	}
	if (faults == NULL)
		return role(self);
	cfg = *faults;
	memcpy(cfg.ip4, self->server ? "\x0a\x09\x08\x01" : "\x0a\x09\x08\x02", 4);
	cfg.prefix_len = 24;
	rc = net_open(&self->net, &cfg, &why);
	if (rc != 0) {
		fprintf(stderr, "net_open: %s\n", why);
		return 1;
	}
	rc = role(self);
	net_free(self->net);
	return rc;
}

static pid_t start_child(node_role *role, struct node *self, const char *vdev, const struct net_config *faults)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(child(role, self, vdev, faults));
	return pid;
}

/* Waits for all of them within the bound, kills those that are left. */
static bool reap(pid_t *pid, unsigned cnt)
{
	uint64_t end = node_now_ns() + UINT64_C(1000000000) * TEST_BOUND_S;
	unsigned left = cnt;
	bool good = true;

	while (left > 0 && node_now_ns() < end) {
		for (unsigned i = 0; i < cnt; i++) {
			int st;

			if (pid[i] <= 0 || waitpid(pid[i], &st, WNOHANG) != pid[i])
				continue;
			pid[i] = 0;
			left--;
			if (!WIFEXITED(st) || WEXITSTATUS(st) != 0) {
				fprintf(stderr, "child %u: status %#x\n", i, (unsigned)st);
				good = false;
				end = 0; /* the other one has nobody to talk to */
			}
		}
		nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
	}
	for (unsigned i = 0; i < cnt; i++) {
		if (pid[i] <= 0)
			continue;
		fprintf(stderr, "child %u: killed\n", i);
		kill(pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
		good = false;
	}
	return good;
}

static void remove_dir(const char *dir)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf -- '%s'", dir);
	if (system(cmd) != 0)
		fprintf(stderr, "cannot remove %s\n", dir);
}

static void memif_device(char *vdev, size_t sz, const char *dir, bool server)
{
	snprintf(vdev, sz, "net_memif0,role=%s,id=0,socket=%s/m.sock,socket-abstract=no,rsize=10",
		 server ? "server" : "client", dir);
}

void node_pair(node_role *server, node_role *client, const struct net_config *cfg_server,
	       const struct net_config *cfg_client)
{
	static const struct net_config plain;
	char dir[] = "/tmp/vigil-net-XXXXXX";
	char vdev[2][160];
	struct node node[2] = {{.server = true, .dir = dir}, {.dir = dir}};
	pid_t pid[2];
	bool good;

	assert_non_null(mkdtemp(dir));
	for (unsigned i = 0; i < 2; i++)
		snprintf(vdev[i], sizeof(vdev[i]),
			 "net_memif0,role=%s,id=0,socket=%s/m.sock,socket-abstract=no,rsize=10",
			 i == 0 ? "server" : "client", dir);
	pid[0] = start_child(server, &node[0], vdev[0], cfg_server ? cfg_server : &plain);
	pid[1] = start_child(client, &node[1], vdev[1], cfg_client ? cfg_client : &plain);
	good = reap(pid, 2);
	remove_dir(dir);
	assert_true(good);
}

static bool kill_when_busy(pid_t pid, const char *dir, unsigned extra_ms)
{
	char busy[96];
	int st;

	snprintf(busy, sizeof(busy), "%s/busy", dir);
	for (unsigned ms = 0; access(busy, F_OK) != 0 && ms < 10000; ms++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	nanosleep(&(struct timespec){.tv_nsec = 1000000L * extra_ms}, NULL);
	unlink(busy);
	kill(pid, SIGKILL);
	return waitpid(pid, &st, 0) == pid && WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL;
}

void node_survives(node_role *survivor, bool is_server, node_role *victim, unsigned kills, node_role *last)
{
	static const struct net_config plain;
	char dir[] = "/tmp/vigil-net-XXXXXX";
	char vdev[2][160], sock[64];
	struct node mine = {.server = is_server, .dir = dir};
	struct node other = {.server = !is_server, .dir = dir};
	pid_t pid[2];
	bool good = true;

	assert_non_null(mkdtemp(dir));
	snprintf(sock, sizeof(sock), "%s/m.sock", dir);
	memif_device(vdev[0], sizeof(vdev[0]), dir, is_server);
	memif_device(vdev[1], sizeof(vdev[1]), dir, !is_server);
	pid[0] = start_child(survivor, &mine, vdev[0], &plain);
	for (unsigned i = 0; i < kills && good; i++) {
		pid[1] = start_child(victim, &other, vdev[1], &plain);
		good = kill_when_busy(pid[1], dir, 3 * i);
		/* The driver does not take over a socket that its dead predecessor has left. */
		if (!is_server)
			unlink(sock);
	}
	pid[1] = start_child(last, &other, vdev[1], &plain);
	good = reap(pid, 2) && good;
	remove_dir(dir);
	assert_true(good);
}

bool node_run_alone(node_role *role, const char *vdev)
{
	char dir[] = "/tmp/vigil-net-XXXXXX";
	struct node node = {.dir = dir};
	pid_t pid;
	bool good;

	if (mkdtemp(dir) == NULL)
		return false;
	pid = start_child(role, &node, vdev, NULL);
	good = reap(&pid, 1);
	remove_dir(dir);
	return good;
}

void node_alone(node_role *role, const char *vdev)
{
	assert_true(node_run_alone(role, vdev));
}
