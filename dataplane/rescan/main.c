/* vigil-rescan: looks for appointments in the block files of a Bitcoin node.  What it does and how it ends is in
   its --help (options.c). */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "rescan/eal.h"
#include "rescan/locators.h"
#include "rescan/options.h"
#include "rescan/pass.h"

enum { EXIT_COMPLETE = 0, EXIT_INCOMPLETE = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 3 };

static atomic_bool quit;

static void on_signal(int sig)
{
	(void)sig;
	atomic_store(&quit, true);
}

/* The second signal of a kind ends the program as it would any other. */
static void catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

static bool choose_network(struct options *o, const struct blk_files *fs)
{
	for (uint32_t i = 0; i < fs->cnt; i++) {
		const struct blk_source *f = &fs->file[i];

		if (f->net == NULL)
			continue;
		if (o->network == NULL)
			o->network = f->net;
		if (o->network != f->net) {
			fprintf(stderr, "vigil-rescan: %s: blocks of %s, not of %s\n", f->path, f->net->name,
				o->network->name);
			return false;
		}
	}
	if (o->network == NULL)
		fprintf(stderr,
			"vigil-rescan: no file begins with the magic bytes of a network; if they are files of "
			"blocks, --network says of which\n");
	return o->network != NULL;
}

struct loader {
	struct pass *pass;
	uint64_t cnt;
};

static bool load_one(void *arg, const struct locator *l)
{
	struct loader *ld = arg;

	ld->cnt++;
	return pass_load(ld->pass, l);
}

static bool load_locators(const struct options *o, struct pass *pass, uint64_t *cnt)
{
	bool from_stdin = strcmp(o->locators, "-") == 0;
	const char *name = from_stdin ? "standard input" : o->locators;
	FILE *in = from_stdin ? stdin : fopen(o->locators, "re");
	struct loader ld = {.pass = pass};
	char why[LOCATORS_WHY_SZ];
	bool good;

	if (in == NULL) {
		fprintf(stderr, "vigil-rescan: %s: %s\n", name, strerror(errno));
		return false;
	}
	good = locators_read(in, load_one, &ld, why);
	if (!from_stdin)
		fclose(in);
	if (!good && !atomic_load(&quit))
		fprintf(stderr, "vigil-rescan: %s: %s\n", name, why);
	if (good && ld.cnt == 0) {
		fprintf(stderr, "vigil-rescan: %s: no locator in it\n", name);
		good = false;
	}
	pass_load_end(pass);
	*cnt = ld.cnt;
	return good;
}

struct survey_call {
	const struct blk_files *fs;
	struct block_table *t;
	struct faults *fl;
	struct survey_progress progress;
	const char *why;
	bool good;
	atomic_bool done;
};

static void *survey_thread(void *arg)
{
	struct survey_call *c = arg;

	c->good = survey_run(c->fs, c->t, c->fl, &c->progress, &quit, &c->why);
	atomic_store(&c->done, true);
	return NULL;
}

/* The survey beside this thread, which tells how far it is. */
static bool survey(const struct blk_files *fs, struct block_table *t, struct faults *fl, struct progress *p)
{
	struct survey_call c = {.fs = fs, .t = t, .fl = fl};
	pthread_t thread;

	if (pthread_create(&thread, NULL, survey_thread, &c) != 0) {
		survey_thread(&c);
	} else {
		while (!atomic_load(&c.done)) {
			usleep(2000);
			progress_survey(p, &c.progress, fs, mono_ns());
		}
		pthread_join(thread, NULL);
	}
	progress_clear(p);
	if (!c.good)
		fprintf(stderr, "vigil-rescan: %s\n", c.why);
	for (uint32_t i = 0; i < fl->cnt; i++)
		report_fault(stderr, fs, fl, i);
	return c.good;
}

static int rescan(const struct options *o, const struct blk_files *fs, struct pass *pass)
{
	struct rescan_counts counts = {0};
	struct block_table table;
	struct faults faults = {0};
	struct progress progress;
	struct pass_job job = {.files = fs,
			       .table = &table,
			       .faults = &faults,
			       .counts = &counts,
			       .progress = &progress,
			       .out = stdout,
			       .err = stderr,
			       .from = o->from,
			       .to = o->to,
			       .all = o->all};
	struct summary sum = {.files = fs,
			      .table = &table,
			      .faults = &faults,
			      .counts = &counts,
			      .from = o->from,
			      .to = o->to};
	bool wants_progress = o->progress >= 0 ? o->progress : isatty(STDERR_FILENO);
	bool good, complete;
	const char *why;
	uint64_t begun;

	table_init(&table, o->network);
	if (!load_locators(o, pass, &counts.locators) && !atomic_load(&quit))
		return EXIT_USAGE;
	begun = mono_ns();
	progress_begin(&progress, stderr, wants_progress, begun);
	good = survey(fs, &table, &faults, &progress);
	if (good) {
		progress_begin(&progress, stderr, wants_progress, mono_ns());
		good = pass_run(pass, &job, &why);
		if (!good)
			fprintf(stderr, "vigil-rescan: %s\n", why);
	}
	sum.interrupted = atomic_load(&quit);
	sum.seconds = (double)(mono_ns() - begun) / 1e9;
	complete = report_summary(stdout, &sum) && good;
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "vigil-rescan: cannot write the result: %s\n", strerror(errno));
		complete = false;
	}
	faults_free(&faults);
	table_free(&table);
	if (sum.interrupted)
		return EXIT_INTERRUPTED;
	return complete ? EXIT_COMPLETE : EXIT_INCOMPLETE;
}

int main(int argc, char **argv)
{
	static struct options o;
	static char why_files[FILES_WHY_SZ];
	const struct txid_kernel *kernel;
	struct blk_files fs = {0};
	struct pass *pass = NULL;
	const char *why = NULL;
	int rc = EXIT_USAGE;

	switch (options_parse(&o, argc, argv)) {
	case OPTIONS_EXIT_OK:
		return EXIT_COMPLETE;
	case OPTIONS_EXIT_BAD:
		return EXIT_USAGE;
	case OPTIONS_RUN:
		break;
	}
	if (!blk_files_find(&fs, o.path, o.path_cnt, why_files)) {
		fprintf(stderr, "vigil-rescan: %s\n", why_files);
		return EXIT_USAGE;
	}
	if (!choose_network(&o, &fs))
		goto out;
	kernel = txid_select(cpu_features(), o.txid_kernel, &why);
	if (kernel == NULL || !eal_start(o.threads, &why)) {
		fprintf(stderr, "vigil-rescan: %s\n", why);
		goto out;
	}
	catch_signals();
	pass = pass_new(kernel, o.threads, &quit);
	if (pass == NULL)
		fprintf(stderr, "vigil-rescan: out of memory, or of threads\n");
	else
		rc = rescan(&o, &fs, pass);
out:
	pass_free(pass);
	blk_files_free(&fs);
	return rc;
}
