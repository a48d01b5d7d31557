/* What the manager's socket gets to hear. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "notify/notify.h"

static char dir[64], path[80];
static int fd = -1;

static int setup(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char pid[16];

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/vigil_notify_XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("NOTIFY_SOCKET", path, 1);
	setenv("WATCHDOG_USEC", "4000000", 1);
	setenv("WATCHDOG_PID", pid, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close(fd);
	unlink(path);
	rmdir(dir);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return 0;
}

static void expect(const char *text)
{
	char got[300];
	ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

	if (n < 0)
		n = 0;
	got[n] = '\0';
	assert_string_equal(got, text);
}

static void the_manager_hears_each_state(void **state)
{
	(void)state;
#ifndef HAVE_SYSTEMD
	printf("SKIPPED: built without libsystemd\n");
	skip();
#endif
	notify_open();
	assert_int_equal(notify_watchdog_ns(), UINT64_C(4000000000));
	notify_ready();
	expect("READY=1");
	notify_alive();
	expect("WATCHDOG=1");
	notify_stopping();
	expect("STOPPING=1");
}

static void a_status_is_one_line(void **state)
{
	char text[400], cut[256];

	(void)state;
#ifndef HAVE_SYSTEMD
	printf("SKIPPED: built without libsystemd\n");
	skip();
#endif
	notify_open();
	notify_status("Height %u\nREADY=1", 7u);
	expect("STATUS=Height 7?READY=1");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	notify_status("%s", text);
	memcpy(cut, "STATUS=", 7);
	memset(cut + 7, 'x', sizeof(cut) - 8);
	cut[sizeof(cut) - 1] = '\0';
	expect(cut);
}

static void without_a_manager_nothing_is_said(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	notify_open();
	assert_int_equal(notify_watchdog_ns(), 0);
	notify_ready();
	notify_alive();
	expect("");
}

/* The watchdog of a parent is not ours. */
static void another_process_is_not_watched(void **state)
{
	(void)state;
	setenv("WATCHDOG_PID", "1", 1);
	notify_open();
	assert_int_equal(notify_watchdog_ns(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_manager_hears_each_state, setup, teardown),
		cmocka_unit_test_setup_teardown(a_status_is_one_line, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_manager_nothing_is_said, setup, teardown),
		cmocka_unit_test_setup_teardown(another_process_is_not_watched, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
