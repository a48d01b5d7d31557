/* Replies of the control port, whole, in pieces, and broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tor/reply.h"

static struct tor_reader reader;

static enum tor_cut feed(const char *text, struct tor_reply *r)
{
	memset(&reader, 0, sizeof(reader));
	assert_true(tor_reader_put(&reader, text, strlen(text)));
	return tor_reader_next(&reader, r);
}

static void lines_are_cut_and_counted(void **state)
{
	struct tor_reply r;

	(void)state;
	assert_int_equal(feed("250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250 OK\r\n515 no\r\n", &r),
			 TOR_REPLY);
	assert_int_equal(r.status, 250);
	assert_int_equal(r.cnt, 3);
	assert_string_equal(r.line[0], "PROTOCOLINFO 1");
	assert_string_equal(r.line[1], "AUTH METHODS=NULL");
	assert_string_equal(r.line[2], "OK");
	assert_int_equal(tor_reader_next(&reader, &r), TOR_REPLY);
	assert_int_equal(r.status, 515);
	assert_string_equal(r.line[0], "no");
	assert_int_equal(tor_reader_next(&reader, &r), TOR_MORE);
}

static void it_does_not_matter_how_the_stream_is_cut(void **state)
{
	static const char text[] =
		"250-A\r\n250+data=\r\n515 not a reply\r\n..\r\n.\r\n250 OK\r\n650 EVENT\r\n";
	struct tor_reply r;
	unsigned cnt = 0;

	(void)state;
	memset(&reader, 0, sizeof(reader));
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		assert_true(tor_reader_put(&reader, text + i, 1));
		while (tor_reader_next(&reader, &r) == TOR_REPLY)
			if (++cnt == 1) {
				assert_int_equal(r.cnt, 3);
				assert_string_equal(r.line[1], "data=");
				assert_string_equal(r.line[2], "OK");
			}
	}
	assert_int_equal(cnt, 2);
	assert_int_equal(r.status, 650);
}

static void what_is_no_reply_is_refused(void **state)
{
	static const char *const bad[] = {"HTTP/1.1 400 Bad\r\n",
					  "25 OK\r\n",
					  "250OK\r\n",
					  "\r\n",
					  "250\r\n",
					  "050 x\r\n",
					  "2x0 OK\r\n",
					  "250-A\r\nB\r\n",
					  "SSH-2.0-OpenSSH\r\n",
					  "250*what\r\n"};
	struct tor_reply r;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(feed(bad[i], &r), TOR_BAD);
	memset(&reader, 0, sizeof(reader));
	assert_true(tor_reader_put(&reader, "250 a\0b\r\n", 9));
	assert_int_equal(tor_reader_next(&reader, &r), TOR_BAD);
}

static void a_reply_without_end_is_bounded(void **state)
{
	char *big = malloc(TOR_REPLY_MAX);
	struct tor_reply r;

	(void)state;
	memset(big, 'x', TOR_REPLY_MAX);
	memset(&reader, 0, sizeof(reader));
	assert_true(tor_reader_put(&reader, big, TOR_REPLY_MAX));
	assert_int_equal(tor_reader_next(&reader, &r), TOR_MORE);
	assert_false(tor_reader_put(&reader, "y", 1));
	memset(&reader, 0, sizeof(reader));
	for (unsigned i = 0; i <= TOR_REPLY_LINE_MAX; i++)
		assert_true(tor_reader_put(&reader, "250-x\r\n", 7));
	assert_int_equal(tor_reader_next(&reader, &r), TOR_BAD);
	free(big);
}

static void values_are_found_quoted_and_bare(void **state)
{
	static const char line[] = "METHODS=COOKIE,SAFECOOKIE COOKIEFILE=\"/a b/\\\"c\\\\d\\101\\n\" X=1";
	char v[64], tiny[4];

	(void)state;
	assert_true(tor_value(line, "METHODS", v, sizeof(v)));
	assert_string_equal(v, "COOKIE,SAFECOOKIE");
	assert_true(tor_value(line, "COOKIEFILE", v, sizeof(v)));
	assert_string_equal(v, "/a b/\"c\\dA\n");
	assert_true(tor_value(line, "X", v, sizeof(v)));
	assert_string_equal(v, "1");
	assert_false(tor_value(line, "b/", v, sizeof(v)));
	assert_false(tor_value(line, "Y", v, sizeof(v)));
	assert_false(tor_value(line, "METHOD", v, sizeof(v)));
	assert_false(tor_value(line, "METHODS", tiny, sizeof(tiny)));
	assert_true(tor_value("word ServiceID=abc", "ServiceID", v, sizeof(v)));
	assert_string_equal(v, "abc");
	assert_true(tor_value("A= B=2", "A", v, sizeof(v)));
	assert_string_equal(v, "");
	assert_false(tor_value("A=\"no end", "A", v, sizeof(v)));
	assert_false(tor_value("A=\"no end\\", "A", v, sizeof(v)));
	assert_false(tor_value("A=\"nul\\000\"", "A", v, sizeof(v)));
	assert_false(tor_value("Q=\"A=1\" B=2", "A", v, sizeof(v)));
	assert_false(tor_value("", "A", v, sizeof(v)));
}

static void a_listed_word_is_a_whole_one(void **state)
{
	(void)state;
	assert_true(tor_listed("COOKIE,SAFECOOKIE,HASHEDPASSWORD", "SAFECOOKIE"));
	assert_true(tor_listed("NULL", "NULL"));
	assert_false(tor_listed("SAFECOOKIE", "COOKIE"));
	assert_false(tor_listed("COOKIES", "COOKIE"));
	assert_false(tor_listed("", "NULL"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_cut_and_counted),
		cmocka_unit_test(it_does_not_matter_how_the_stream_is_cut),
		cmocka_unit_test(what_is_no_reply_is_refused),
		cmocka_unit_test(a_reply_without_end_is_bounded),
		cmocka_unit_test(values_are_found_quoted_and_bare),
		cmocka_unit_test(a_listed_word_is_a_whole_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
