/* replay_main.c - gives every file of the folders (or files) named on the command line to
   LLVMFuzzerTestOneInput, so that a fuzz target's corpus runs as an ordinary test with any compiler.

   Each input is copied into an allocation of exactly its size: a read past the end is then seen by
   ASan.  Prints how many inputs ran; running none is a failure, since a moved corpus would
   otherwise pass for ever. */

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_SZ_MAX (16u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);
/* Optional in a target, as with libFuzzer itself. */
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

static unsigned long input_cnt;

static int replay_file(const char *path)
{
	struct stat st;
	FILE *f = fopen(path, "rb");

	if (f == NULL || fstat(fileno(f), &st) != 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		if (f != NULL)
			fclose(f);
		return -1;
	}
	if (st.st_size > (off_t)INPUT_SZ_MAX) {
		fprintf(stderr, "%s: larger than %u bytes\n", path, INPUT_SZ_MAX);
		fclose(f);
		return -1;
	}

	size_t sz = (size_t)st.st_size;
	/* malloc(0) may be NULL; a target must not touch the pointer of an empty input anyway. */
	uint8_t *data = malloc(sz);
	int rc = -1;

	if (sz != 0 && (data == NULL || fread(data, 1, sz, f) != sz)) {
		fprintf(stderr, "%s: cannot read it\n", path);
	} else {
		/* Named before it runs, so that a crash shows which input it was. */
		printf("%s (%zu bytes)\n", path, sz);
		fflush(stdout);
		LLVMFuzzerTestOneInput(data, sz);
		input_cnt++;
		rc = 0;
	}
	free(data);
	fclose(f);
	return rc;
}

static int not_hidden(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

/* Corpora are flat: a folder inside one is reported by replay_file() as unreadable. */
static int replay_dir(const char *path)
{
	struct dirent **entries;
	int cnt = scandir(path, &entries, not_hidden, alphasort);
	int rc = 0;

	if (cnt < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	for (int i = 0; i < cnt; i++) {
		char file[PATH_MAX];
		int n = snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);

		if (n < 0 || (size_t)n >= sizeof(file) || replay_file(file) != 0)
			rc = -1;
		free(entries[i]);
	}
	free(entries);
	return rc;
}

int main(int argc, char **argv)
{
	int rc = 0;

	if (LLVMFuzzerInitialize != NULL)
		LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (stat(argv[i], &st) != 0) {
			fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
			rc = -1;
		} else if ((S_ISDIR(st.st_mode) ? replay_dir(argv[i]) : replay_file(argv[i])) != 0) {
			rc = -1;
		}
	}
	printf("%lu inputs replayed\n", input_cnt);
	return rc == 0 && input_cnt != 0 ? 0 : 1;
}
