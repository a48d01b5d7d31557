#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log/log.h"

/* 2026-01-02T03:04:05.678Z */
#define T_MS 1767323045678u

#define HEAD "2026-01-02T03:04:05.678Z level=info event=e msg=\"m\""

static char line[LOG_LINE_MAX + 1];

#define FORMAT(...)                                         \
	line[log_format(line, T_MS, LOG_LVL_INFO, "e", "m", \
			(const struct log_kv[]){__VA_ARGS__, {.kind = LOG_KIND_END}})] = '\0'

static void every_kind_of_value_has_its_form(void **state)
{
	uint8_t hash[32] = {0xaa, [31] = 0x01};

	(void)state;
	FORMAT(log_str("s", "plain-word.1"), log_u64("u", UINT64_MAX), log_i64("i", INT64_MIN),
	       log_bool("b", true), log_hex("h", "\x00\xff", 2), log_hash("txid", hash));
	assert_string_equal(line,
			    HEAD " s=plain-word.1 u=18446744073709551615 i=-9223372036854775808 b=true h=00ff "
				 "txid=01000000000000000000000000000000000000000000000000000000000000aa\n");
}

static void hostile_text_stays_one_printable_line(void **state)
{
	static const char evil[] = "a\nlevel=error \"x\" \\ \x1b[31m\xff\x7f\t\r";

	(void)state;
	FORMAT(log_str("v", evil));
	assert_string_equal(line, HEAD " v=\"a\\nlevel=error \\\"x\\\" \\\\ \\x1b[31m\\xff\\x7f\\t\\r\"\n");

	for (unsigned c = 0; c < 256; c++) {
		char one = (char)c;

		FORMAT(log_text("v", &one, 1));
		size_t sz = strlen(line);

		assert_int_equal(line[sz - 1], '\n');
		for (size_t i = 0; i + 1 < sz; i++)
			assert_in_range(line[i], 0x20, 0x7e);
	}
}

static void values_that_could_be_misread_are_quoted(void **state)
{
	(void)state;
	FORMAT(log_str("a", ""), log_str("b", NULL), log_str("c", "x y"), log_str("d", "k=v"),
	       log_text("e", "a\0b", 3));
	assert_string_equal(line, HEAD " a=\"\" b=\"\" c=\"x y\" d=\"k=v\" e=\"a\\x00b\"\n");
}

static void a_long_value_is_cut_and_marked(void **state)
{
	static char big[LOG_VALUE_MAX + 2];

	(void)state;
	memset(big, 'x', sizeof big - 1);
	FORMAT(log_str("v", big), log_str("w", "after"));
	assert_non_null(strstr(line, "x...\" w=after\n"));
	assert_int_equal(strlen(line), strlen(HEAD " v=\"\" w=after\n") + LOG_VALUE_MAX + 3);
}

static void a_line_that_is_too_long_is_cut_and_still_ends(void **state)
{
	static char big[LOG_VALUE_MAX];

	(void)state;
	memset(big, '\x01', sizeof big - 1);
	FORMAT(log_str("v", big), log_str("w", big), log_str("x", "never seen"));
	size_t sz = strlen(line);

	assert_in_range(sz, LOG_LINE_MAX - 16, LOG_LINE_MAX);
	assert_string_equal(line + sz - 5, "...\"\n");
	assert_null(strstr(line, "never"));
}

static void level_names_go_both_ways(void **state)
{
	enum log_level l;

	(void)state;
	for (unsigned i = 0; i < LOG_LVL_CNT; i++) {
		assert_true(log_level_parse(&l, log_level_name((enum log_level)i)));
		assert_int_equal(l, i);
	}
	assert_false(log_level_parse(&l, "Info"));
	assert_false(log_level_parse(&l, ""));
}

/* --- files -------------------------------------------------------------------------------------------------- */

static char dir[] = "/tmp/vigil-log-XXXXXX";
static char path[64], moved[64];

static int files_setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/log", dir);
	snprintf(moved, sizeof moved, "%s/log.1", dir);
	return 0;
}

static int files_teardown(void **state)
{
	(void)state;
	log_close();
	unlink(path);
	unlink(moved);
	return rmdir(dir);
}

static char *slurp(const char *name)
{
	static char buf[1 << 20];
	FILE *f = fopen(name, "r");

	assert_non_null(f);
	buf[fread(buf, 1, sizeof buf - 1, f)] = '\0';
	fclose(f);
	return buf;
}

static void a_log_file_is_private_reopens_under_its_name_and_honours_the_level(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(log_open(path, LOG_LVL_WARN), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	log_warn("one", "first");
	log_info("hidden", "below the level");
	assert_int_equal(rename(path, moved), 0);
	log_warn("two", "still the old file");
	assert_int_equal(log_reopen(), 0);
	log_warn("three", "new file", log_u64("n", 3));

	assert_non_null(strstr(slurp(moved), "event=one"));
	assert_non_null(strstr(slurp(moved), "event=two"));
	assert_null(strstr(slurp(moved), "event=hidden"));
	assert_null(strstr(slurp(path), "event=two"));
	assert_non_null(strstr(slurp(path), "level=warn event=three msg=\"new file\" n=3\n"));
	unlink(moved);
}

static void a_path_that_cannot_be_opened_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(log_open("/nonexistent-directory/log", LOG_LVL_INFO), -ENOENT);
}

#define THREADS 4
#define LINES   500

static void *writer(void *arg)
{
	unsigned id = *(unsigned *)arg;

	for (unsigned i = 0; i < LINES; i++)
		log_info("t", "concurrent", log_u64("id", id), log_u64("i", i), log_str("end", "END"));
	return NULL;
}

static void lines_of_threads_never_mix(void **state)
{
	pthread_t th[THREADS];
	unsigned id[THREADS], seen = 0;

	(void)state;
	unlink(path);
	assert_int_equal(log_open(path, LOG_LVL_INFO), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		id[i] = i;
		assert_int_equal(pthread_create(&th[i], NULL, writer, &id[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(th[i], NULL);

	char *save = NULL;

	for (char *l = strtok_r(slurp(path), "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		assert_memory_equal(l + strlen(l) - 7, "end=END", 7);
		assert_non_null(strstr(l, "Z level=info event=t msg=\"concurrent\" id="));
		seen++;
	}
	assert_int_equal(seen, THREADS * LINES);
	assert_int_equal(log_dropped(), 0);
}

static void gathered_lines_come_together_in_their_order_and_warnings_do_not_wait(void **state)
{
	unsigned seen = 0;
	char *save = NULL;

	(void)state;
	unlink(path);
	assert_int_equal(log_open(path, LOG_LVL_INFO), 0);
	log_gather(true);
	log_info("first", "held back");
	assert_string_equal(slurp(path), "");
	log_warn("second", "at once, after what came before it");
	assert_non_null(strstr(slurp(path), "event=first"));
	assert_non_null(strstr(slurp(path), "event=second"));
	/* More than is held back. */
	for (unsigned i = 0; i < LINES; i++)
		log_info("burst", "one of many", log_u64("i", i),
			 log_str("pad", "0123456789012345678901234567"));
	log_gather(false);
	log_info("last", "written at once");
	for (char *l = strtok_r(slurp(path), "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		static const char mark[] = "event=burst msg=\"one of many\" i=";
		const char *at = strstr(l, mark);

		if (at)
			assert_int_equal(strtoul(at + sizeof mark - 1, NULL, 10), seen++);
	}
	assert_int_equal(seen, LINES);
	assert_non_null(strstr(slurp(path), "event=last"));
	assert_int_equal(log_dropped(), 0);
}

static void text_for_a_terminal_is_printable_ascii_and_is_cut_with_a_mark(void **state)
{
	char out[64];

	(void)state;
	assert_string_equal(log_printable(out, sizeof out, "a \"b\" \\ \033[2J\n\r\t\x7f\xc3\xa9"),
			    "a \"b\" \\ \\x1b[2J\\n\\r\\t\\x7f\\xc3\\xa9");
	assert_string_equal(log_printable(out, sizeof out, ""), "");
	assert_string_equal(log_printable(out, 8, "1234567"), "1234567");
	assert_string_equal(log_printable(out, 8, "12345678"), "1234...");
	assert_string_equal(log_printable(out, 8, "12\033456"), "12...");
	assert_string_equal(log_printable(out, 4, "\033"), "...");
}

int main(void)
{
	const struct CMUnitTest format[] = {
		cmocka_unit_test(every_kind_of_value_has_its_form),
		cmocka_unit_test(hostile_text_stays_one_printable_line),
		cmocka_unit_test(values_that_could_be_misread_are_quoted),
		cmocka_unit_test(a_long_value_is_cut_and_marked),
		cmocka_unit_test(a_line_that_is_too_long_is_cut_and_still_ends),
		cmocka_unit_test(level_names_go_both_ways),
		cmocka_unit_test(text_for_a_terminal_is_printable_ascii_and_is_cut_with_a_mark),
	};
	const struct CMUnitTest files[] = {
		cmocka_unit_test(a_log_file_is_private_reopens_under_its_name_and_honours_the_level),
		cmocka_unit_test(a_path_that_cannot_be_opened_is_an_error),
		cmocka_unit_test(lines_of_threads_never_mix),
		cmocka_unit_test(gathered_lines_come_together_in_their_order_and_warnings_do_not_wait),
	};
	int failed = cmocka_run_group_tests_name("format", format, NULL, NULL);

	failed += cmocka_run_group_tests_name("files", files, files_setup, files_teardown);
	return failed;
}
