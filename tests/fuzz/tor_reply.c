/* tor_reply.c - the stream of a Tor control port: however it is cut into pieces, the same replies are found, and nothing in
   them reaches past their end.

   The first byte of the input chooses the size of the pieces. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tor/reply.h"

#define SUM_SEED 14695981039346656037ull

static uint64_t sum_of(uint64_t sum, const char *text)
{
	for (; *text != '\0'; text++)
		sum = (sum ^ (uint8_t)*text) * 1099511628211ull;
	return (sum ^ 0x100) * 1099511628211ull;
}

static uint64_t look(uint64_t sum, const struct tor_reply *r)
{
	static const char *const keys[] = {"METHODS",     "COOKIEFILE", "SERVERHASH",
					   "SERVERNONCE", "ServiceID",  "A"};
	char *value = malloc(65);

	assert(value != NULL);
	assert(r->status >= 100 && r->status <= 999);
	assert(r->cnt >= 1 && r->cnt <= TOR_REPLY_LINE_MAX);
	sum = (sum ^ (uint64_t)r->status) * 1099511628211ull;
	for (unsigned i = 0; i < r->cnt; i++) {
		assert(strstr(r->line[i], "\r\n") == NULL);
		sum = sum_of(sum, r->line[i]);
		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			if (tor_value(r->line[i], keys[k], value, 65)) {
				assert(strlen(value) < 65);
				sum = sum_of(sum, value);
				tor_listed(value, "NULL");
			}
	}
	free(value);
	return sum;
}

static uint64_t run(const char *text, size_t sz, size_t piece)
{
	struct tor_reader *r = calloc(1, sizeof(*r));
	enum tor_cut cut = TOR_MORE;
	struct tor_reply reply;
	uint64_t sum = SUM_SEED;

	assert(r != NULL);
	for (size_t at = 0; at < sz && cut == TOR_MORE; at += piece) {
		size_t n = sz - at < piece ? sz - at : piece;

		if (!tor_reader_put(r, text + at, n))
			break;
		while ((cut = tor_reader_next(r, &reply)) == TOR_REPLY)
			sum = look(sum, &reply);
	}
	free(r);
	return (sum ^ (uint64_t)cut) * 1099511628211ull;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	/* What does not fit the reader at once would be refused in one piece and not in several. */
	if (sz < 1 || sz - 1 > TOR_REPLY_MAX)
		return 0;
	assert(run((const char *)data + 1, sz - 1, sz) ==
	       run((const char *)data + 1, sz - 1, 1u + data[0] % 64));
	return 0;
}
