#include "rescan/report.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define FAULTS_TOLD_MAX 1000u

/* --- JSON --------------------------------------------------------------------------------------------------- */

/* What is not ASCII is given as it is: file names are UTF-8 nearly everywhere. */
static void put_text(FILE *out, const char *text)
{
	putc('"', out);
	for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			putc('\\', out);
		if (*p < 0x20)
			fprintf(out, "\\u%04x", *p);
		else
			putc(*p, out);
	}
	putc('"', out);
}

static void put_height(FILE *out, uint32_t height)
{
	if (height == HEIGHT_UNKNOWN)
		fputs("null", out);
	else
		fprintf(out, "%" PRIu32, height);
}

void report_hit(FILE *out, const struct hit *h)
{
	struct locator l = locator_of_txid(&h->txid, h->scheme);
	char block[HASH_HEX_SZ], txid[HASH_HEX_SZ], locator[2 * LOCATOR_SZ + 1];

	hash256_to_display(block, &h->block->hash);
	hash256_to_display(txid, &h->txid);
	hex_encode(locator, l.b, LOCATOR_SZ);
	fputs("{\"type\":\"hit\",\"height\":", out);
	put_height(out, h->block->height);
	fprintf(out,
		",\"block_hash\":\"%s\",\"best_chain\":%s,\"txid\":\"%s\",\"tx_index\":%" PRIu32
		",\"locator\":\"%s\",\"scheme\":\"%s\",\"file\":",
		block, h->block->best_chain ? "true" : "false", txid, h->tx_idx, locator,
		h->scheme == LOCATOR_INTERNAL ? "internal" : "display");
	put_text(out, h->file->path);
	fprintf(out, ",\"offset\":%" PRIu64 "}\n", h->at->off);
}

static uint32_t count_faults(const struct faults *fl, enum fault_kind kind)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < fl->cnt; i++)
		cnt += fl->fault[i].kind == kind;
	return cnt;
}

static void put_tip(FILE *out, const struct block_table *t)
{
	uint32_t tip = t->at_height != NULL ? t->at_height[t->highest - t->lowest] : t->best;
	char hash[HASH_HEX_SZ];

	fputs(",\"lowest_height\":", out);
	put_height(out, t->lowest);
	fputs(",\"tip_height\":", out);
	put_height(out, t->highest);
	if (tip == BLOCK_NONE) {
		fputs(",\"tip_hash\":null", out);
		return;
	}
	hash256_to_display(hash, &t->block[tip].hash);
	fprintf(out, ",\"tip_hash\":\"%s\"", hash);
}

bool report_summary(FILE *out, const struct summary *s)
{
	const struct block_table *t = s->table;
	const struct rescan_counts *c = s->counts;
	uint32_t missing = table_missing(t, s->from, s->to);
	uint32_t garbage = count_faults(s->faults, FAULT_GARBAGE);
	uint32_t bad = count_faults(s->faults, FAULT_BAD_BLOCK);
	uint32_t unreadable = count_faults(s->faults, FAULT_UNREADABLE);
	bool complete = !s->interrupted && missing + garbage + bad + unreadable == 0 && c->lost == 0;

	fprintf(out, "{\"type\":\"summary\",\"complete\":%s,\"interrupted\":%s,\"network\":\"%s\"",
		complete ? "true" : "false", s->interrupted ? "true" : "false", t->net->name);
	fprintf(out, ",\"files\":%" PRIu32 ",\"file_bytes\":%" PRIu64 ",\"locators\":%" PRIu64, s->files->cnt,
		s->files->sz, c->locators);
	put_tip(out, t);
	fprintf(out,
		",\"records\":%" PRIu32 ",\"duplicates\":%" PRIu32 ",\"stale_blocks\":%" PRIu32
		",\"skipped_blocks\":%" PRIu64 ",\"missing_heights\":%" PRIu32,
		t->cnt, t->copy_cnt, t->stale_cnt, c->skipped, missing);
	fprintf(out,
		",\"damaged_regions\":%" PRIu32 ",\"bad_blocks\":%" PRIu32 ",\"unreadable\":%" PRIu32
		",\"unfinished\":%" PRIu32 ",\"lost_blocks\":%" PRIu64,
		garbage, bad, unreadable, count_faults(s->faults, FAULT_UNFINISHED), c->lost);
	fprintf(out,
		",\"scanned_blocks\":%" PRIu64 ",\"scanned_bytes\":%" PRIu64 ",\"transactions\":%" PRIu64
		",\"hits\":%" PRIu64 ",\"seconds\":%.3f}\n",
		c->scanned, c->bytes, c->txs, c->hits, s->seconds);
	return complete;
}

void report_fault(FILE *err, const struct blk_files *fs, const struct faults *fl, uint32_t i)
{
	const struct fault *f = &fl->fault[i];

	if (i < FAULTS_TOLD_MAX)
		fprintf(err, "vigil-rescan: %s: byte %" PRIu64 ": %s (%" PRIu64 " bytes)\n",
			fs->file[f->file].path, f->off, f->why, f->sz);
	else if (i == FAULTS_TOLD_MAX)
		fprintf(err, "vigil-rescan: more of the kind is counted, and not told one by one\n");
}

/* --- progress ----------------------------------------------------------------------------------------------- */

#define TERMINAL_NS 200000000u
#define LOG_NS      5000000000u

void progress_begin(struct progress *p, FILE *err, bool wanted, uint64_t now_ns)
{
	*p = (struct progress){.err = wanted ? err : NULL, .begun_ns = now_ns, .told_ns = now_ns};
	p->terminal = wanted && isatty(fileno(err));
}

void progress_clear(struct progress *p)
{
	if (p->line_open)
		fputs("\r\033[K", p->err);
	p->line_open = false;
}

/* False: not yet. */
static bool line_begin(struct progress *p, uint64_t now_ns)
{
	if (p->err == NULL || now_ns - p->told_ns < (p->terminal ? TERMINAL_NS : LOG_NS))
		return false;
	p->told_ns = now_ns;
	progress_clear(p);
	return true;
}

static void line_end(struct progress *p)
{
	if (p->terminal)
		p->line_open = true;
	else
		putc('\n', p->err);
	fflush(p->err);
}

void progress_survey(struct progress *p, const struct survey_progress *s, const struct blk_files *fs,
		     uint64_t now_ns)
{
	if (!line_begin(p, now_ns))
		return;
	fprintf(p->err, "headers: %u of %" PRIu32 " files, %u blocks", atomic_load(&s->files), fs->cnt,
		atomic_load(&s->blocks));
	line_end(p);
}

static void put_time_left(FILE *err, double s)
{
	unsigned long long n = (unsigned long long)(s + 0.5);

	if (n >= 3600)
		fprintf(err, "%llu h %02llu min left", n / 3600, n / 60 % 60);
	else if (n >= 60)
		fprintf(err, "%llu min %02llu s left", n / 60, n % 60);
	else
		fprintf(err, "%llu s left", n);
}

void progress_scan(struct progress *p, const struct rescan_counts *c, uint64_t done, uint64_t total,
		   uint64_t now_ns)
{
	double s = (double)(now_ns - p->begun_ns) / 1e9, rate;

	if (done == 0 || !line_begin(p, now_ns))
		return;
	rate = (double)done / s;
	fprintf(p->err,
		"%.1f %%  %.2f of %.2f GB  %.2f GB/s  %" PRIu64 " blocks  %.0f tx/s  %" PRIu64 " hits  ",
		100.0 * (double)done / (double)total, (double)done / 1e9, (double)total / 1e9, rate / 1e9,
		c->scanned, (double)c->txs / s, c->hits);
	put_time_left(p->err, (double)(total - done) / rate);
	line_end(p);
}
