#include "rescan/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define SURVEY_THREADS 8u

bool faults_add(struct faults *fl, const struct fault *f)
{
	if (fl->cnt == fl->cap) {
		uint32_t cap = fl->cap != 0 ? 2 * fl->cap : 64;
		struct fault *more = realloc(fl->fault, cap * sizeof(*more));

		if (more == NULL)
			return false;
		fl->fault = more;
		fl->cap = cap;
	}
	fl->fault[fl->cnt++] = *f;
	return true;
}

void faults_free(struct faults *fl)
{
	free(fl->fault);
	*fl = (struct faults){0};
}

/* --- one file ----------------------------------------------------------------------------------------------- */

struct found {
	struct block_table blocks;
	struct faults faults;
};

struct survey {
	const struct blk_files *fs;
	const struct network *net;
	struct found *found; /* of each file */
	atomic_uint next_file;
	atomic_bool out_of_memory;
	const atomic_bool *quit;
	struct survey_progress *progress;
};

static bool walk_records(struct survey *s, struct blkwalk *w, uint32_t file, struct found *found)
{
	const struct blk_source *f = &s->fs->file[file];

	while (!atomic_load_explicit(s->quit, memory_order_relaxed)) {
		uint64_t from = w->pos;
		struct blkwalk_step step;
		enum blkwalk_kind kind = blkwalk_next(w, &step);
		struct fault fault = {.file = file, .off = step.off, .sz = step.sz};

		switch (kind) {
		case BLKWALK_RECORD:
			if (!table_add(&found->blocks, step.header, &step.hash, file, step.off,
				       (uint32_t)step.sz))
				return false;
			atomic_fetch_add(&s->progress->blocks, 1);
			break;
		case BLKWALK_GARBAGE:
			fault.kind = f->may_grow && step.off + step.sz == f->data_sz ? FAULT_UNFINISHED
										     : FAULT_GARBAGE;
			fault.why = fault.kind == FAULT_GARBAGE ? "bytes that belong to no record"
								: "a record that is being written";
			if (!faults_add(&found->faults, &fault))
				return false;
			break;
		case BLKWALK_FAILED:
			/* The rest of the file: where its next record begins cannot be known. */
			fault = (struct fault){.kind = FAULT_UNREADABLE,
					       .file = file,
					       .off = from,
					       .sz = f->data_sz - from,
					       .why = "cannot be read"};
			return faults_add(&found->faults, &fault);
		case BLKWALK_END:
			atomic_fetch_add(&s->progress->bytes, f->sz - from);
			return true;
		}
		atomic_fetch_add(&s->progress->bytes, w->pos - from);
	}
	return true;
}

static bool walk_file(struct survey *s, uint32_t file)
{
	const struct blk_source *f = &s->fs->file[file];
	struct blkwalk_src src = {.at = blkread_at, .sz = f->sz, .data_sz = f->data_sz};
	struct found *found = &s->found[file];
	struct blkwalk w;
	struct blkread r;
	bool good;

	table_init(&found->blocks, s->net);
	if (blkread_open(&r, f) != 0)
		return faults_add(&found->faults, &(struct fault){.kind = FAULT_UNREADABLE,
								  .file = file,
								  .sz = f->sz,
								  .why = "cannot be opened"});
	/* What the kernel would read ahead of a header is the body. */
	posix_fadvise(r.fd, 0, 0, POSIX_FADV_RANDOM);
	src.arg = &r;
	blkwalk_begin(&w, &src, s->net);
	good = walk_records(s, &w, file, found);
	blkwalk_end(&w);
	blkread_close(&r);
	return good;
}

static void *survey_thread(void *arg)
{
	struct survey *s = arg;
	unsigned file;

	while (!atomic_load(s->quit) && !atomic_load(&s->out_of_memory) &&
	       (file = atomic_fetch_add(&s->next_file, 1)) < s->fs->cnt) {
		if (!walk_file(s, file))
			atomic_store(&s->out_of_memory, true);
		atomic_fetch_add(&s->progress->files, 1);
	}
	return NULL;
}

/* --- all of them -------------------------------------------------------------------------------------------- */

/* Puts the files' blocks one after the other, giving each file's memory back. */
static bool gather(struct survey *s, struct block_table *t, struct faults *fl)
{
	uint64_t cnt = 0;

	for (uint32_t i = 0; i < s->fs->cnt; i++)
		cnt += s->found[i].blocks.cnt;
	if (cnt >= BLOCK_NONE / 2)
		return false;
	t->block = malloc((cnt + 1) * sizeof(*t->block));
	if (t->block == NULL)
		return false;
	t->cap = (uint32_t)cnt + 1;
	for (uint32_t i = 0; i < s->fs->cnt; i++) {
		struct found *f = &s->found[i];

		if (f->blocks.cnt > 0)
			memcpy(t->block + t->cnt, f->blocks.block, f->blocks.cnt * sizeof(*t->block));
		t->cnt += f->blocks.cnt;
		for (uint32_t k = 0; k < f->faults.cnt; k++)
			if (!faults_add(fl, &f->faults.fault[k]))
				return false;
		table_free(&f->blocks);
		faults_free(&f->faults);
	}
	return true;
}

struct coinbase_reader {
	const struct blk_files *fs;
	uint8_t *buf;
	struct tx_view *tx;
};

static int64_t height_by_coinbase(void *arg, const struct found_block *b)
{
	struct coinbase_reader *c = arg;
	const struct blk_source *f = &c->fs->file[b->file];
	struct block_view bv;
	int64_t height = -1;
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (blkread_into(fd, f, b->off, c->buf, b->sz) == 0 &&
	    block_parse(c->buf, b->sz, &bv, c->tx) == PARSE_OK)
		height = block_bip34_height(c->buf, &c->tx[0]);
	close(fd);
	return height;
}

static bool link_table(const struct blk_files *fs, struct block_table *t)
{
	struct coinbase_reader c = {
		.fs = fs, .buf = malloc(BLOCK_SZ_MAX), .tx = malloc(BLOCK_TX_MAX * sizeof(*c.tx))};
	bool good = c.buf != NULL && c.tx != NULL && table_link(t, height_by_coinbase, &c);

	free(c.buf);
	free(c.tx);
	return good;
}

bool survey_run(const struct blk_files *fs, struct block_table *t, struct faults *fl, struct survey_progress *p,
		const atomic_bool *quit, const char **why)
{
	struct survey s = {.fs = fs, .net = t->net, .quit = quit, .progress = p};
	pthread_t thread[SURVEY_THREADS];
	unsigned started = 0;
	bool good;

	*why = "out of memory";
	s.found = calloc(fs->cnt != 0 ? fs->cnt : 1, sizeof(*s.found));
	if (s.found == NULL)
		return false;
	while (started < SURVEY_THREADS && started < fs->cnt &&
	       pthread_create(&thread[started], NULL, survey_thread, &s) == 0)
		started++;
	if (started == 0)
		survey_thread(&s); /* without a thread to spare, or a file */
	for (unsigned i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
	good = !atomic_load(&s.out_of_memory);
	if (good && !atomic_load(quit))
		good = gather(&s, t, fl) && link_table(fs, t);
	for (uint32_t i = 0; i < fs->cnt; i++) {
		table_free(&s.found[i].blocks);
		faults_free(&s.found[i].faults);
	}
	free(s.found);
	return good;
}
