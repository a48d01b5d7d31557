#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"

static char dir[] = "/tmp/vigil-config-XXXXXX";
static char path[64];
static char why[CONFIG_WHY_SZ];
static struct config cfg;

static int setup(void **state)
{
	(void)state;
	setenv("HOME", "/home/op", 1);
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/vigil.conf", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

static void file_is_sz(const char *text, size_t sz, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, sz, f), sz);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void file_is(const char *text)
{
	file_is_sz(text, strlen(text), 0600);
}

#define ARGV(...) ((const char *[]){"vigild", __VA_ARGS__})
#define LOAD(...)                                                                                             \
	config_load(&cfg, (int)(sizeof ARGV(__VA_ARGS__) / sizeof(char *)), (char *const *)ARGV(__VA_ARGS__), \
		    why)

static enum config_verdict load_nothing(void)
{
	const char *argv[] = {"vigild"};

	return config_load(&cfg, 1, (char *const *)argv, why);
}

static enum config_verdict load_file(void)
{
	char opt[96];

	snprintf(opt, sizeof opt, "--config=%s", path);
	return LOAD(opt);
}

/* The file is refused, and the sentence begins with file:line and holds each of the words. */
static void refused_at(const char *text, unsigned line, const char *word, const char *reason)
{
	char head[96];

	file_is(text);
	assert_int_equal(load_file(), CONFIG_BAD);
	snprintf(head, sizeof head, "%s:%u: ", path, line);
	if (strncmp(why, head, strlen(head)) != 0 || !strstr(why, word) || !strstr(why, reason))
		fail_msg("want \"%s\", \"%s\", \"%s\"; got \"%s\"", head, word, reason, why);
	assert_null(strchr(why, '\n'));
}

static void without_a_file_every_key_has_its_default(void **state)
{
	(void)state;
	assert_int_equal(load_nothing(), CONFIG_RUN);
	assert_int_equal(cfg.network, NET_MAIN);
	assert_string_equal(cfg.data_dir, "/home/op/.vigil");
	assert_string_equal(cfg.network_dir, "/home/op/.vigil/main");
	assert_string_equal(cfg.store_dir, "/home/op/.vigil/main/store");
	assert_string_equal(cfg.key_file, "/home/op/.vigil/main/tower.key");
	assert_string_equal(cfg.link_socket, "/home/op/.vigil/main/link.sock");
	assert_string_equal(cfg.control_socket, "/home/op/.vigil/main/control.sock");
	assert_string_equal(cfg.api_bind, "127.0.0.1");
	assert_int_equal(cfg.api_port, 9814);
	assert_int_equal(cfg.chain_start, CONFIG_START_TIP);
	assert_false(cfg.anchor.set);
	assert_int_equal(cfg.subscription_slots, 10000);
	assert_int_equal(cfg.subscription_duration, 4320);
	assert_int_equal(cfg.expiry_delta, 6);
	assert_int_equal(cfg.rebroadcast_blocks, 6);
	assert_int_equal(cfg.node_cnt, 0);
	assert_int_equal(cfg.log_level, LOG_LVL_INFO);
	assert_string_equal(cfg.log_file, "");
}

static void the_command_line_wins_over_the_file_and_the_file_over_the_default(void **state)
{
	char opt[96];

	(void)state;
	file_is("# a comment\n[tower]\nnetwork = regtest\ndata-dir=/srv/v\n\n; another\n[api]\n  "
		"port=1000\n"
		"bind=::1 ; why\r\n[log]\nlevel=debug\n");
	snprintf(opt, sizeof opt, "--config=%s", path);
	assert_int_equal(LOAD("--api.port=2000", opt, "--log.file=~/vigil.log"), CONFIG_RUN);
	assert_int_equal(cfg.network, NET_REGTEST);
	assert_string_equal(cfg.network_dir, "/srv/v/regtest");
	assert_int_equal(cfg.api_port, 2000);
	assert_string_equal(cfg.api_bind, "::1");
	assert_int_equal(cfg.log_level, LOG_LVL_DEBUG);
	assert_string_equal(cfg.log_file, "/home/op/vigil.log");

	assert_int_equal(LOAD("--config", path, "--tower.network=test"), CONFIG_RUN);
	assert_int_equal(cfg.network, NET_TESTNET3);
	assert_int_equal(cfg.api_port, 1000);
}

static void a_missing_file_is_an_error_that_names_it(void **state)
{
	(void)state;
	assert_int_equal(LOAD("--config", "/nonexistent/vigil.conf"), CONFIG_BAD);
	assert_non_null(strstr(why, "/nonexistent/vigil.conf"));
	assert_non_null(strstr(why, "No such file"));
	assert_int_equal(LOAD("--config", dir), CONFIG_BAD);
	assert_non_null(strstr(why, "not a regular file"));
	assert_int_equal(LOAD("--config"), CONFIG_BAD);
	assert_non_null(strstr(why, "--config needs"));
	assert_int_equal(LOAD("--config=a", "--config=b"), CONFIG_BAD);
	assert_non_null(strstr(why, "--config is given twice"));
}

static void every_wrong_line_is_named_with_file_line_and_key(void **state)
{
	(void)state;
	refused_at("[api]\nprot=1\n", 2, "prot", "section [api] has no such key");
	refused_at("\n[apy]\nport=1\n", 3, "port", "no section [apy]");
	refused_at("\xef\xbb\xbf[api]\nport=x\n", 2, "api.port", "whole number");
	refused_at("port=1\n", 1, "port", "before any [section]");
	refused_at("[api]\nport=1\nbind=::1\nport=2\n", 4, "api.port", "given twice (first on line 2)");
	refused_at("[api]\nport=1\n[log]\n[api]\nport=1\n", 5, "api.port", "given twice");
	refused_at("[api]\nport\n", 2, "neither", "key=value");
	refused_at("[api\nport=1\n", 1, "neither", "[section]");
	refused_at("[api]\nport=1\n  bind=x\n", 3, "api.bind", "\"x\" is not an IPv4");
}

static void every_bad_value_is_named_with_what_is_wrong(void **state)
{
	static const struct {
		const char *section, *line, *key, *reason;
	} bad[] = {
		{"api", "port=65536", "api.port", "\"65536\" is not a whole number from 0 to 65535"},
		{"api", "port=-1", "api.port", "not a whole number"},
		{"api", "port=1x", "api.port", "not a whole number"},
		{"api", "port=", "api.port", "not a whole number"},
		{"api", "port=99999999999999999999999", "api.port", "not a whole number"},
		{"api", "body-limit=2047", "api.body-limit", "from 2048 to"},
		{"api", "bind=localhost", "api.bind", "not an IPv4 or IPv6 address"},
		{"tower", "network=bitcoin", "tower.network", "none of main"},
		{"tower", "data-dir=", "tower.data-dir", "is empty"},
		{"chain", "start=now", "chain.start", "neither tip nor anchor"},
		{"chain", "anchor=00:1", "chain.anchor", "HASH:HEIGHT"},
		{"chain", "anchor=000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
		 "chain.anchor", "HASH:HEIGHT"},
		{"chain", "anchor=000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26g:0",
		 "chain.anchor", "HASH:HEIGHT"},
		{"chain", "anchor=000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f:-1",
		 "chain.anchor", "HASH:HEIGHT"},
		{"teos", "subscription-slots=0", "teos.subscription-slots", "from 1 to 4294967295"},
		{"rpc", "connect=:8332", "rpc.connect", "host:port"},
		{"rpc", "connect=a:0", "rpc.connect", "host:port"},
		{"rpc", "connect=a:70000", "rpc.connect", "host:port"},
		{"rpc", "connect=a,,b", "rpc.connect", "host:port"},
		{"rpc", "connect=[::1", "rpc.connect", "host:port"},
		{"rpc", "connect=a,b,c,d,e,f,g,h,i", "rpc.connect", "more than 8"},
		{"log", "level=trace", "log.level", "none of error"},
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(text, sizeof text, "[%s]\n%s\n", bad[i].section, bad[i].line);
		refused_at(text, 2, bad[i].key, bad[i].reason);
	}
}

static void a_line_that_is_too_long_is_an_error_but_a_comment_may_be_long(void **state)
{
	char text[4096];

	(void)state;
	memset(text, 'x', sizeof text);
	memcpy(text, "#", 1);
	memcpy(text + 1000, "\n[log]\nfile=", 12);
	text[1500] = '\0';
	refused_at(text, 3, "file", "the line is longer than");
	text[1013 + 30] = '\0';
	file_is(text);
	assert_int_equal(load_file(), CONFIG_RUN);
}

static void a_file_that_is_not_text_is_an_error(void **state)
{
	(void)state;
	file_is_sz("[api]\nport=\0001\n", 14, 0600);
	assert_int_equal(load_file(), CONFIG_BAD);
	assert_non_null(strstr(why, "NUL byte"));

	char *big = calloc(1, (1u << 20) + 1);

	assert_non_null(big);
	memset(big, '\n', (1u << 20) + 1);
	file_is_sz(big, (1u << 20) + 1, 0600);
	free(big);
	assert_int_equal(load_file(), CONFIG_BAD);
	assert_non_null(strstr(why, "larger than"));
}

static void wrong_options_are_named(void **state)
{
	(void)state;
	assert_int_equal(LOAD("--api.prot=1"), CONFIG_BAD);
	assert_non_null(strstr(why, "--api.prot=1 is not an option"));
	assert_int_equal(LOAD("stray"), CONFIG_BAD);
	assert_non_null(strstr(why, "stray is not an option"));
	assert_int_equal(LOAD("--api.port"), CONFIG_BAD);
	assert_non_null(strstr(why, "--api.port needs a value"));
	assert_int_equal(LOAD("--api.port=x"), CONFIG_BAD);
	assert_non_null(strstr(why, "--api.port: \"x\" is not a whole number"));
	assert_int_equal(LOAD("--api.port=1", "--api.port=2"), CONFIG_BAD);
	assert_non_null(strstr(why, "--api.port is given twice"));
}

static void T30_a_new_key_is_asked_for_on_the_command_line_only(void **state)
{
	(void)state;
	assert_int_equal(load_nothing(), CONFIG_RUN);
	assert_false(cfg.overwrite_key);
	assert_int_equal(LOAD("--overwrite-key"), CONFIG_RUN);
	assert_true(cfg.overwrite_key);
	assert_int_equal(LOAD("--overwrite-key=yes"), CONFIG_BAD);
	/* Nor by accident, at every start, from a file. */
	file_is("overwrite-key=true\n");
	assert_int_equal(load_file(), CONFIG_BAD);
	file_is("[tower]\noverwrite-key=true\n");
	assert_int_equal(load_file(), CONFIG_BAD);
}

static void help_and_version_win_over_whatever_else_is_wrong(void **state)
{
	(void)state;
	assert_int_equal(LOAD("--nonsense", "--help"), CONFIG_HELP);
	assert_int_equal(LOAD("--config=/nonexistent", "--version"), CONFIG_VERSION);
}

static void a_password_that_everybody_can_read_is_refused(void **state)
{
	static const char text[] = "[rpc]\nuser=u\npassword=p\n";

	(void)state;
	file_is_sz(text, sizeof text - 1, 0644);
	assert_int_equal(load_file(), CONFIG_BAD);
	assert_non_null(strstr(why, ":3: rpc.password"));
	assert_non_null(strstr(why, "chmod o-r"));
	file_is_sz(text, sizeof text - 1, 0640);
	assert_int_equal(load_file(), CONFIG_RUN);
	assert_string_equal(cfg.rpc_password, "p");
	assert_false(cfg.password_on_command_line);
	assert_int_equal(LOAD("--rpc.password=p"), CONFIG_RUN);
	assert_true(cfg.password_on_command_line);
}

static void nodes_are_listed_with_ports_and_need_credentials(void **state)
{
	(void)state;
	assert_int_equal(
		LOAD("--rpc.connect=127.0.0.1:8000, node.example ,[::1]:9,[fe80::2]", "--rpc.cookie-file=~/c"),
		CONFIG_RUN);
	assert_int_equal(cfg.node_cnt, 4);
	assert_string_equal(cfg.nodes[0].host, "127.0.0.1");
	assert_int_equal(cfg.nodes[0].port, 8000);
	assert_string_equal(cfg.nodes[1].host, "node.example");
	assert_int_equal(cfg.nodes[1].port, 8332);
	assert_string_equal(cfg.nodes[2].host, "::1");
	assert_int_equal(cfg.nodes[2].port, 9);
	assert_string_equal(cfg.nodes[3].host, "fe80::2");
	assert_string_equal(cfg.rpc_cookie_file, "/home/op/c");

	assert_false(cfg.nodes[0].tls || cfg.nodes[1].tls || cfg.nodes[2].tls || cfg.nodes[3].tls);

	assert_int_equal(LOAD("--rpc.connect=a:1"), CONFIG_BAD);
	assert_non_null(strstr(why, "neither rpc.cookie-file nor rpc.user"));
	assert_int_equal(LOAD("--rpc.connect=a:1", "--rpc.cookie-file=/c", "--rpc.user=u"), CONFIG_BAD);
	assert_non_null(strstr(why, "use one way"));
}

static void a_node_written_with_https_is_spoken_to_over_tls(void **state)
{
	(void)state;
	assert_int_equal(LOAD("--rpc.connect=https://node.example, HTTPS://[::1]:9,plain:1", "--rpc.user=u",
			      "--rpc.password=p", "--rpc.certificate=~/rpc.cert"),
			 CONFIG_RUN);
	assert_int_equal(cfg.node_cnt, 3);
	assert_string_equal(cfg.nodes[0].host, "node.example");
	assert_int_equal(cfg.nodes[0].port, 8332);
	assert_string_equal(cfg.nodes[1].host, "::1");
	assert_int_equal(cfg.nodes[1].port, 9);
	assert_true(cfg.nodes[0].tls && cfg.nodes[1].tls);
	assert_false(cfg.nodes[2].tls);
	assert_string_equal(cfg.rpc_certificate, "/home/op/rpc.cert");

	assert_int_equal(LOAD("--rpc.connect=https://", "--rpc.cookie-file=/c"), CONFIG_BAD);
	assert_int_equal(LOAD("--rpc.connect=http://a", "--rpc.cookie-file=/c"), CONFIG_BAD);
	/* It would be of no use, and the operator believes otherwise. */
	assert_int_equal(LOAD("--rpc.connect=a:1", "--rpc.cookie-file=/c", "--rpc.certificate=/cert"),
			 CONFIG_BAD);
	assert_non_null(strstr(why, "https://"));
}

static void an_anchor_is_read_in_display_order(void **state)
{
	(void)state;
	assert_int_equal(LOAD("--chain.start=anchor",
			      "--chain.anchor="
			      "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f:7"),
			 CONFIG_RUN);
	assert_int_equal(cfg.chain_start, CONFIG_START_ANCHOR);
	assert_true(cfg.anchor.set);
	assert_int_equal(cfg.anchor.height, 7);
	assert_true(hash256_eq(&cfg.anchor.hash, &network_get(NET_MAIN)->genesis_hash));
}

static void a_socket_path_that_the_system_cannot_hold_is_refused(void **state)
{
	char opt[256] = "--tower.data-dir=/";

	(void)state;
	memset(opt + strlen(opt), 'd', 100);
	assert_int_equal(LOAD(opt), CONFIG_BAD);
	assert_non_null(strstr(why, "link.socket"));
	assert_non_null(strstr(why, "set link.socket to a shorter one"));
	assert_int_equal(LOAD(opt, "--link.socket=/run/l", "--control.socket=/run/c"), CONFIG_RUN);
	assert_int_equal(LOAD("--link.socket=/run/l", "--control.socket=/run/l"), CONFIG_BAD);
}

static void the_default_directory_needs_a_home(void **state)
{
	(void)state;
	unsetenv("HOME");
	assert_int_equal(load_nothing(), CONFIG_BAD);
	assert_non_null(strstr(why, "tower.data-dir"));
	assert_int_equal(LOAD("--tower.data-dir=/srv/v"), CONFIG_RUN);
	assert_int_equal(LOAD("--tower.data-dir=~/v"), CONFIG_BAD);
	assert_non_null(strstr(why, "HOME is not set"));
	setenv("HOME", "/home/op", 1);
}

static void directories_are_made_private_and_failures_name_the_path(void **state)
{
	char opt[128], sub[128];
	struct stat st;

	(void)state;
	snprintf(opt, sizeof opt, "--tower.data-dir=%s/a/b", dir);
	assert_int_equal(LOAD(opt, "--tower.network=regtest"), CONFIG_RUN);
	for (unsigned twice = 0; twice < 2; twice++)
		assert_int_equal(config_make_dirs(&cfg, why), 0);
	for (const char *s = "/a/b/regtest\0/a/b\0/a\0"; *s; s += strlen(s) + 1) {
		snprintf(sub, sizeof sub, "%s%s", dir, s);
		assert_int_equal(stat(sub, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0700);
		assert_int_equal(rmdir(sub), 0);
	}
	file_is("");
	snprintf(opt, sizeof opt, "--tower.data-dir=%s/x", path);
	assert_int_equal(LOAD(opt), CONFIG_RUN);
	assert_int_not_equal(config_make_dirs(&cfg, why), 0);
	assert_non_null(strstr(why, path));
}

static void help_lists_every_key_and_the_sample_is_a_valid_file(void **state)
{
	char *help = NULL, *sample = NULL;
	size_t help_sz, sample_sz;
	FILE *f = open_memstream(&help, &help_sz);

	(void)state;
	config_print_help(f);
	fclose(f);
	f = open_memstream(&sample, &sample_sz);
	config_print_sample(f);
	fclose(f);

	file_is(sample);
	assert_int_equal(load_file(), CONFIG_RUN);
	/* With the keys uncommented it must say the same: sections, names and defaults all parse. */
	for (char *l = sample; (l = strchr(l, '\n')) != NULL; l++) {
		if (l[1] == '#' && l[2] != ' ')
			l[1] = ' ';
	}
	file_is(sample);
	struct config dflt = cfg;

	assert_int_equal(load_file(), CONFIG_RUN);
	assert_memory_equal(&dflt, &cfg, sizeof cfg);

	for (const char *k = "tower.network\0tower.data-dir\0api.bind\0api.port\0api.max-connections\0api."
			     "threads\0"
			     "api.body-limit\0link.socket\0chain.start\0chain.anchor\0control.socket\0"
			     "teos.subscription-slots\0teos.subscription-duration\0teos.expiry-delta\0rpc."
			     "connect\0"
			     "rpc.user\0rpc.password\0rpc.cookie-file\0rpc.timeout-ms\0broadcast."
			     "rebroadcast-blocks\0"
			     "log.level\0log.file\0";
	     *k; k += strlen(k) + 1) {
		char want[64];

		snprintf(want, sizeof want, "--%s=", k);
		if (!strstr(help, want))
			fail_msg("--help does not list %s", k);
	}
	free(help);
	free(sample);
}

/* The shipped sample is what the table says.  VIGIL_UPDATE_SAMPLE=1 rewrites it. */
static void the_shipped_sample_is_the_one_the_table_prints(void **state)
{
	const char *vectors = getenv("VIGIL_VECTORS");
	char *sample = NULL, *shipped = NULL, name[512];
	size_t sample_sz;
	FILE *f = open_memstream(&sample, &sample_sz);

	(void)state;
	config_print_sample(f);
	fclose(f);
	assert_non_null(vectors);
	snprintf(name, sizeof name, "%s/../../control/vigil.conf.sample", vectors);
	if (getenv("VIGIL_UPDATE_SAMPLE")) {
		f = fopen(name, "w");
		assert_non_null(f);
		fwrite(sample, 1, sample_sz, f);
		fclose(f);
	}
	f = fopen(name, "r");
	assert_non_null(f);
	shipped = calloc(1, sample_sz + 2);
	assert_non_null(shipped);
	assert_int_equal(fread(shipped, 1, sample_sz + 1, f), sample_sz);
	fclose(f);
	assert_string_equal(shipped, sample);
	free(sample);
	free(shipped);
}

static void said_printably(const char *want)
{
	for (const char *p = why; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			fail_msg("byte %02x in: %s", (unsigned char)*p, why);
	if (!strstr(why, want))
		fail_msg("no %s in: %s", want, why);
}

static void nothing_in_a_message_reaches_the_terminal_raw(void **state)
{
	static const char *const files[] = {
		"[api]\n\033[31m\xc3\xa9=1\n", "[api]\nport=\033[31m\xc3\xa9\n", "[\033[31m\xc3\xa9]\nport=1\n",
		"\033[31m\xc3\xa9=1\n",        "[api]\n\033[31m\xc3\xa9\n",
	};
	char longest[4000];

	(void)state;
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		file_is(files[i]);
		assert_int_equal(load_file(), CONFIG_BAD);
		said_printably("\\x1b[31m\\xc3\\xa9");
	}
	assert_int_equal(LOAD("--\033[31m=1"), CONFIG_BAD);
	said_printably("--\\x1b[31m");
	assert_int_equal(LOAD("--api.port=\n\033[31m"), CONFIG_BAD);
	said_printably("\"\\n\\x1b[31m\"");
	assert_int_equal(LOAD("--config=/nonexistent/\033[31m"), CONFIG_BAD);
	said_printably("/nonexistent/\\x1b[31m");
	assert_int_equal(LOAD("--tower.data-dir=/d", "--link.socket=\033", "--control.socket=\033"),
			 CONFIG_BAD);
	said_printably("\\x1b");
	/* Longer than the buffer once escaped. */
	memset(longest, '\033', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	assert_int_equal(LOAD("--config", longest), CONFIG_BAD);
	said_printably("\\x1b...");
	memset(&cfg, 0, sizeof cfg);
	strcpy(cfg.data_dir, "/dev/null/\033[31m");
	assert_int_not_equal(config_make_dirs(&cfg, why), 0);
	said_printably("/dev/null");
}

static void logged_in(unsigned i, const char *cookie, const char *user, const char *password)
{
	assert_string_equal(cfg.nodes[i].cookie, cookie);
	assert_string_equal(cfg.nodes[i].user, user);
	assert_string_equal(cfg.nodes[i].password, password);
}

static void each_node_has_its_login(void **state)
{
	(void)state;
	setenv("HOME", "/home/op", 1);
	/* One for all. */
	assert_int_equal(LOAD("--rpc.connect=a:1,b:2", "--rpc.cookie-file=/c"), CONFIG_RUN);
	logged_in(0, "/c", "", "");
	logged_in(1, "/c", "", "");
	assert_int_equal(LOAD("--rpc.connect=a:1,b:2", "--rpc.user=u", "--rpc.password=p,q"), CONFIG_RUN);
	logged_in(0, "", "u", "p,q"); /* no list: the user is none */
	logged_in(1, "", "u", "p,q");
	/* One for each. */
	assert_int_equal(LOAD("--rpc.connect=a:1,b:2", "--rpc.cookie-file=~/c , ~/d"), CONFIG_RUN);
	logged_in(0, "/home/op/c", "", "");
	logged_in(1, "/home/op/d", "", "");
	assert_int_equal(LOAD("--rpc.connect=a:1,b:2", "--rpc.user=u,v", "--rpc.password=p,q"), CONFIG_RUN);
	logged_in(0, "", "u", "p");
	logged_in(1, "", "v", "q");
	/* Of both kinds. */
	assert_int_equal(
		LOAD("--rpc.connect=a:1,b:2,c:3", "--rpc.cookie-file=/c,,", "--rpc.user=u", "--rpc.password=p"),
		CONFIG_RUN);
	logged_in(0, "/c", "", "");
	logged_in(1, "", "u", "p");
	logged_in(2, "", "u", "p");
	/* One node: a comma is a comma. */
	assert_int_equal(LOAD("--rpc.connect=a:1", "--rpc.cookie-file=/c,d"), CONFIG_RUN);
	logged_in(0, "/c,d", "", "");
	/* Mistakes. */
	assert_int_equal(LOAD("--rpc.connect=a:1,b:2,c:3", "--rpc.cookie-file=/c,/d"), CONFIG_BAD);
	assert_non_null(strstr(why, "one for each of the 3 nodes"));
	assert_int_equal(LOAD("--rpc.connect=a:1,b:2", "--rpc.cookie-file=/c,"), CONFIG_BAD);
	assert_non_null(strstr(why, "node 2 (b) has neither"));
	assert_int_equal(LOAD("--rpc.connect=a:1,b:2", "--rpc.user=u,v", "--rpc.password=p"), CONFIG_RUN);
	logged_in(1, "", "v", "p");
	assert_int_equal(LOAD("--rpc.connect=a:1,b:2", "--rpc.user=u,", "--rpc.password=p,q"), CONFIG_BAD);
	assert_int_equal(
		LOAD("--rpc.connect=a:1,b:2", "--rpc.cookie-file=/c", "--rpc.user=u", "--rpc.password=p"),
		CONFIG_BAD);
	assert_non_null(strstr(why, "both"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_node_has_its_login),
		cmocka_unit_test(without_a_file_every_key_has_its_default),
		cmocka_unit_test(the_command_line_wins_over_the_file_and_the_file_over_the_default),
		cmocka_unit_test(a_missing_file_is_an_error_that_names_it),
		cmocka_unit_test(every_wrong_line_is_named_with_file_line_and_key),
		cmocka_unit_test(every_bad_value_is_named_with_what_is_wrong),
		cmocka_unit_test(a_line_that_is_too_long_is_an_error_but_a_comment_may_be_long),
		cmocka_unit_test(a_file_that_is_not_text_is_an_error),
		cmocka_unit_test(wrong_options_are_named),
		cmocka_unit_test(T30_a_new_key_is_asked_for_on_the_command_line_only),
		cmocka_unit_test(help_and_version_win_over_whatever_else_is_wrong),
		cmocka_unit_test(a_password_that_everybody_can_read_is_refused),
		cmocka_unit_test(nodes_are_listed_with_ports_and_need_credentials),
		cmocka_unit_test(a_node_written_with_https_is_spoken_to_over_tls),
		cmocka_unit_test(an_anchor_is_read_in_display_order),
		cmocka_unit_test(a_socket_path_that_the_system_cannot_hold_is_refused),
		cmocka_unit_test(the_default_directory_needs_a_home),
		cmocka_unit_test(directories_are_made_private_and_failures_name_the_path),
		cmocka_unit_test(nothing_in_a_message_reaches_the_terminal_raw),
		cmocka_unit_test(the_shipped_sample_is_the_one_the_table_prints),
		cmocka_unit_test(help_lists_every_key_and_the_sample_is_a_valid_file),
	};

	return cmocka_run_group_tests_name("config", tests, setup, teardown);
}
