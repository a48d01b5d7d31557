#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "btc/network.h"
#include "fixture.h"

void fixture_make(struct fixture *f, uint32_t blocks, uint32_t txs, const struct synth_reorg *reorg)
{
	struct synth_config cfg = {.seed = 3,
				   .blocks = blocks,
				   .txs_per_block = txs,
				   .segwit_ppm = 500000,
				   .reorgs = reorg,
				   .reorg_cnt = reorg != NULL};
	struct synth_summary sum;
	char why[256];
	struct stat st;
	size_t at = 0;
	FILE *in;

	memset(f, 0, sizeof(*f));
	strcpy(f->dir, "/tmp/vigil-serve-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	cfg.dir = f->dir;
	if (synth_run(&cfg, &sum, why, sizeof(why)))
		fail_msg("%s", why);
	snprintf(f->path, sizeof(f->path), "%s/chain.dat", f->dir);
	in = fopen(f->path, "rb");
	assert_non_null(in);
	assert_int_equal(fstat(fileno(in), &st), 0);
	f->data = malloc((size_t)st.st_size);
	assert_non_null(f->data);
	assert_int_equal(fread(f->data, 1, (size_t)st.st_size, in), st.st_size);
	fclose(in);
	while (at < (size_t)st.st_size) {
		const uint8_t *h = f->data + at;
		uint32_t sz = h[4] | (uint32_t)h[5] << 8 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 24;

		assert_true(f->cnt < FIXTURE_BLOCKS);
		f->block[f->cnt].p = h + 8;
		f->block[f->cnt].sz = sz;
		f->block[f->cnt++].hash = header_hash(h + 8);
		at += 8 + sz;
	}
}

const char *fixture_write(const struct fixture *f, const uint32_t *order, uint32_t cnt)
{
	static char path[64];
	FILE *out;

	snprintf(path, sizeof(path), "%s/other.dat", f->dir);
	out = fopen(path, "wb");
	assert_non_null(out);
	for (uint32_t i = 0; i < cnt; i++) {
		const uint8_t *frame = f->block[order[i]].p - 8;

		assert_int_equal(fwrite(frame, 1, f->block[order[i]].sz + 8, out), f->block[order[i]].sz + 8);
	}
	assert_int_equal(fclose(out), 0);
	return path;
}

void fixture_free(struct fixture *f)
{
	static const char *const names[] = {"chain.dat", "breaches.json", "other.dat"};
	char path[64];

	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", f->dir, names[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(f->dir), 0);
	free(f->data);
}
