#include "rescan/readahead.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE_SZ     ((size_t)4096)    /* what reads past the page cache must be aligned to, everywhere */
#define WINDOW_SZ   ((size_t)8 << 20) /* several of the largest blocks */
#define WINDOW_MEM  (WINDOW_SZ + 2 * PAGE_SZ) /* it begins and ends inside of a page */
#define GAP_SZ_MAX  ((size_t)256 << 10) /* of skipped blocks that are read along, since a seek costs more */
#define READERS_MAX 16u

enum window_state { WINDOW_FREE, WINDOW_READING, WINDOW_READY, WINDOW_DONE };

struct readahead {
	const struct blk_files *fs;
	const struct block_table *t;
	const struct read_item *item;
	uint32_t cnt;
	struct read_window *window;
	unsigned window_cnt;
	pthread_t reader[READERS_MAX];
	unsigned reader_cnt;
	/* Under lock. */
	pthread_mutex_t lock;
	pthread_cond_t freed, ready;
	uint32_t next_item;
	uint64_t claimed, taken, released; /* windows, ever */
	bool quit;
};

static const struct found_block *place(const struct readahead *ra, uint32_t item)
{
	return &ra->t->block[ra->item[item].at];
}

/* The window's memory begins with the page that its first byte is in. */
static uint8_t *bytes_of(const struct readahead *ra, const struct read_window *w, uint32_t i)
{
	return w->mem + w->off % PAGE_SZ + (place(ra, w->first + i)->off - w->off);
}

/* What the next window holds, from next_item on. */
static void plan(struct readahead *ra, struct read_window *w)
{
	uint32_t i = ra->next_item;
	const struct found_block *b = place(ra, i);

	w->first = i;
	w->off = b->off;
	do {
		w->sz = (size_t)(b->off + b->sz - w->off);
		i++;
		if (i == ra->cnt)
			break;
		b = place(ra, i);
	} while (b->file == place(ra, w->first)->file && b->off >= w->off + w->sz &&
		 b->off - (w->off + w->sz) <= GAP_SZ_MAX && b->off + b->sz - w->off <= WINDOW_SZ);
	w->cnt = w->left = i - w->first;
	ra->next_item = i;
}

/* A reader's two ways to the file it reads. */
struct way {
	uint32_t file;
	int fd;
	int direct; /* past the page cache; -1 where the file system has none */
};

static void way_close(struct way *y)
{
	if (y->fd >= 0)
		close(y->fd);
	if (y->direct >= 0)
		close(y->direct);
	y->fd = y->direct = -1;
}

static void way_to(struct way *y, const struct readahead *ra, uint32_t file)
{
	if (y->file == file)
		return;
	way_close(y);
	y->file = file;
	y->fd = open(ra->fs->file[file].path, O_RDONLY | O_CLOEXEC);
	y->direct = open(ra->fs->file[file].path, O_RDONLY | O_CLOEXEC | O_DIRECT);
}

/* Does the page cache hold most of it?  Asked without touching it: any read, also one that must not wait, makes the
   kernel read ahead.  Of a file that is not ours to write the kernel says yes to everything. */
static bool is_cached(int fd, uint64_t off, size_t sz)
{
	unsigned char page[WINDOW_MEM / PAGE_SZ];
	size_t cnt = (sz + PAGE_SZ - 1) / PAGE_SZ, here = 0;
	void *map = mmap(NULL, sz, PROT_READ, MAP_SHARED, fd, (off_t)off);

	if (map == MAP_FAILED)
		return true;
	if (mincore(map, sz, page) != 0)
		here = cnt;
	else
		for (size_t i = 0; i < cnt; i++)
			here += page[i] & 1;
	munmap(map, sz);
	return here >= cnt - cnt / 8;
}

/* off, p and sz are whole pages, but the file may end before. */
static size_t read_direct(int fd, uint64_t off, uint8_t *p, size_t sz)
{
	size_t got = 0;

	while (got < sz && got % PAGE_SZ == 0) {
		ssize_t n = pread(fd, p + got, sz - got, (off_t)(off + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	return got;
}

/* What the page cache holds comes from there.  All else comes past it: files many times its size would only push the
   node's own pages out, and filling it costs more than the scan. */
static bool read_window(const struct readahead *ra, struct read_window *w, const struct way *y)
{
	const struct blk_source *f = &ra->fs->file[y->file];
	size_t lead = w->off % PAGE_SZ, sz = lead + w->sz;
	uint8_t *p = w->mem + lead;

	if (y->fd < 0)
		return false;
	if (y->direct >= 0 && !is_cached(y->fd, w->off - lead, sz) &&
	    read_direct(y->direct, w->off - lead, w->mem, (sz + PAGE_SZ - 1) / PAGE_SZ * PAGE_SZ) >= sz) {
		if (f->keyed)
			blkfile_xor(p, w->sz, w->off, f->key);
		return true;
	}
	posix_fadvise(y->fd, (off_t)w->off, (off_t)w->sz, POSIX_FADV_WILLNEED);
	return blkread_into(y->fd, f, w->off, p, w->sz) == 0;
}

/* The disk may have one bad sector: what else was to be read with it is not lost. */
static void read_each(const struct readahead *ra, struct read_window *w, const struct way *y)
{
	const struct blk_source *f = &ra->fs->file[y->file];

	w->bad = calloc(w->cnt, sizeof(*w->bad));
	w->lost = w->bad == NULL;
	for (uint32_t i = 0; w->bad != NULL && i < w->cnt; i++) {
		const struct found_block *b = place(ra, w->first + i);

		w->bad[i] = y->fd < 0 || blkread_into(y->fd, f, b->off, bytes_of(ra, w, i), b->sz) != 0;
	}
}

static void fill(const struct readahead *ra, struct read_window *w, struct way *y)
{
	way_to(y, ra, place(ra, w->first)->file);
	free(w->bad);
	w->bad = NULL;
	w->lost = false;
	if (!read_window(ra, w, y))
		read_each(ra, w, y);
}

static void *reader_thread(void *arg)
{
	struct readahead *ra = arg;
	struct way way = {.file = UINT32_MAX, .fd = -1, .direct = -1};

	pthread_mutex_lock(&ra->lock);
	while (!ra->quit && ra->next_item < ra->cnt) {
		struct read_window *w;

		if (ra->claimed - ra->released == ra->window_cnt) {
			pthread_cond_wait(&ra->freed, &ra->lock);
			continue;
		}
		w = &ra->window[ra->claimed++ % ra->window_cnt];
		w->state = WINDOW_READING;
		plan(ra, w);
		pthread_mutex_unlock(&ra->lock);
		fill(ra, w, &way);
		pthread_mutex_lock(&ra->lock);
		w->state = WINDOW_READY;
		pthread_cond_signal(&ra->ready);
	}
	pthread_mutex_unlock(&ra->lock);
	way_close(&way);
	return NULL;
}

static bool windows_make(struct readahead *ra)
{
	ra->window = calloc(ra->window_cnt, sizeof(*ra->window));
	for (unsigned i = 0; ra->window != NULL && i < ra->window_cnt; i++) {
		void *mem = mmap(NULL, WINDOW_MEM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (mem == MAP_FAILED)
			return false;
		madvise(mem, WINDOW_MEM, MADV_HUGEPAGE);
		ra->window[i].mem = mem;
	}
	return ra->window != NULL;
}

struct readahead *readahead_new(const struct blk_files *fs, const struct block_table *t,
				const struct read_item *item, uint32_t cnt, unsigned readers)
{
	struct readahead *ra = calloc(1, sizeof(*ra));

	if (ra == NULL)
		return NULL;
	if (readers > READERS_MAX)
		readers = READERS_MAX;
	*ra = (struct readahead){.fs = fs, .t = t, .item = item, .cnt = cnt, .window_cnt = 2 * readers + 2};
	pthread_mutex_init(&ra->lock, NULL);
	pthread_cond_init(&ra->freed, NULL);
	pthread_cond_init(&ra->ready, NULL);
	if (windows_make(ra))
		while (ra->reader_cnt < readers &&
		       pthread_create(&ra->reader[ra->reader_cnt], NULL, reader_thread, ra) == 0)
			ra->reader_cnt++;
	if (ra->reader_cnt == 0) {
		readahead_free(ra);
		return NULL;
	}
	return ra;
}

void readahead_free(struct readahead *ra)
{
	if (ra == NULL)
		return;
	pthread_mutex_lock(&ra->lock);
	ra->quit = true;
	pthread_cond_broadcast(&ra->freed);
	pthread_mutex_unlock(&ra->lock);
	for (unsigned i = 0; i < ra->reader_cnt; i++)
		pthread_join(ra->reader[i], NULL);
	for (unsigned i = 0; ra->window != NULL && i < ra->window_cnt; i++) {
		if (ra->window[i].mem != NULL)
			munmap(ra->window[i].mem, WINDOW_MEM);
		free(ra->window[i].bad);
	}
	pthread_cond_destroy(&ra->freed);
	pthread_cond_destroy(&ra->ready);
	pthread_mutex_destroy(&ra->lock);
	free(ra->window);
	free(ra);
}

static bool next_is_ready(const struct readahead *ra)
{
	return ra->taken < ra->claimed && ra->window[ra->taken % ra->window_cnt].state == WINDOW_READY;
}

struct read_window *readahead_next(struct readahead *ra)
{
	struct read_window *w = NULL;

	pthread_mutex_lock(&ra->lock);
	if (next_is_ready(ra))
		w = &ra->window[ra->taken++ % ra->window_cnt];
	pthread_mutex_unlock(&ra->lock);
	return w;
}

void readahead_wait(struct readahead *ra)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&ra->lock);
	if (!next_is_ready(ra))
		pthread_cond_timedwait(&ra->ready, &ra->lock, &until);
	pthread_mutex_unlock(&ra->lock);
}

void readahead_release(struct readahead *ra, struct read_window *w)
{
	pthread_mutex_lock(&ra->lock);
	w->state = WINDOW_DONE;
	while (ra->released < ra->taken && ra->window[ra->released % ra->window_cnt].state == WINDOW_DONE) {
		ra->window[ra->released++ % ra->window_cnt].state = WINDOW_FREE;
		pthread_cond_signal(&ra->freed);
	}
	pthread_mutex_unlock(&ra->lock);
}

uint8_t *readahead_block(const struct readahead *ra, const struct read_window *w, uint32_t i)
{
	return w->lost || (w->bad != NULL && w->bad[i]) ? NULL : bytes_of(ra, w, i);
}
