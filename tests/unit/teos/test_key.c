#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "teos/key.h"
#include "teos/sig.h"

static char dir[64], path[128], why[256];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/vigil-key-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/key", dir);
	why[0] = '\0';
	return 0;
}

static int teardown(void **state)
{
	char tmp[160];

	(void)state;
	snprintf(tmp, sizeof(tmp), "%s.new", path);
	unlink(tmp);
	unlink(path);
	return rmdir(dir);
}

static void write_file(const void *p, size_t sz, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, sz), sz);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void refused(int err, const char *because)
{
	struct tower_key *k = NULL;

	assert_int_equal(tower_key_open(&k, path, true, why, sizeof(why)), -err);
	assert_null(k);
	if (strstr(why, because) == NULL)
		fail_msg("says '%s', not '%s'", why, because);
}

static void T30_the_first_start_makes_a_key_and_the_next_loads_it(void **state)
{
	struct tower_key *a, *b;
	struct user_id id;
	struct stat st;

	(void)state;
	assert_int_equal(tower_key_open(&a, path, true, why, sizeof(why)), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 32);
	assert_true(sig_pubkey(&id, a->secret));
	assert_memory_equal(id.b, a->id.b, USER_ID_SZ);
	assert_int_equal(tower_key_open(&b, path, true, why, sizeof(why)), 0);
	assert_memory_equal(a->secret, b->secret, 32);
	assert_memory_equal(a->id.b, b->id.b, USER_ID_SZ);
	tower_key_free(a);
	tower_key_free(b);
}

static void T30_a_replaced_key_stays_beside_the_new_one(void **state)
{
	struct tower_key *a, *b, *c, *old;
	char name[2][160];
	struct stat st;

	(void)state;
	assert_int_equal(tower_key_replace(&a, path, why, sizeof(why)), 0); /* none yet: as if created */
	assert_int_equal(tower_key_replace(&b, path, why, sizeof(why)), 0);
	assert_int_equal(tower_key_replace(&c, path, why, sizeof(why)), 0);
	assert_memory_not_equal(a->secret, b->secret, TOWER_KEY_SZ);
	assert_memory_not_equal(b->secret, c->secret, TOWER_KEY_SZ);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(name[i], sizeof(name[i]), "%s.old-%u", path, i + 1);
		assert_int_equal(stat(name[i], &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
		assert_int_equal(tower_key_open(&old, name[i], false, why, sizeof(why)), 0);
		assert_memory_equal(old->secret, i == 0 ? a->secret : b->secret, TOWER_KEY_SZ);
		tower_key_free(old);
	}
	assert_int_equal(tower_key_open(&old, path, false, why, sizeof(why)), 0);
	assert_memory_equal(old->secret, c->secret, TOWER_KEY_SZ);
	tower_key_free(old);
	tower_key_free(a);
	tower_key_free(b);
	tower_key_free(c);
	/* What is no sound key of ours is neither replaced nor renamed. */
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(tower_key_replace(&a, path, why, sizeof(why)), -EPERM);
	assert_int_equal(stat(path, &st), 0);
	for (unsigned i = 0; i < 2; i++)
		unlink(name[i]);
}

static void without_create_a_missing_key_is_an_error(void **state)
{
	struct tower_key *k;

	(void)state;
	assert_int_equal(tower_key_open(&k, path, false, why, sizeof(why)), -ENOENT);
	assert_int_equal(access(path, F_OK), -1);
	assert_non_null(strstr(why, "No such file"));
}

static void what_a_crash_left_beside_the_key_is_replaced(void **state)
{
	char tmp[160];
	struct tower_key *k;
	int fd;

	(void)state;
	snprintf(tmp, sizeof(tmp), "%s.new", path);
	fd = open(tmp, O_WRONLY | O_CREAT, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "half", 4), 4);
	close(fd);
	assert_int_equal(tower_key_open(&k, path, true, why, sizeof(why)), 0);
	assert_int_equal(access(tmp, F_OK), -1);
	tower_key_free(k);
}

static void keys_of_the_wrong_size_are_refused_and_kept(void **state)
{
	uint8_t key[33];
	struct stat st;

	(void)state;
	memset(key, 1, sizeof(key));
	write_file(key, 0, 0600);
	refused(EINVAL, "0 bytes instead of 32");
	write_file(key, 31, 0600);
	refused(EINVAL, "31 bytes");
	write_file(key, 33, 0600);
	refused(EINVAL, "33 bytes");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 33);
}

static void keys_that_others_may_read_are_refused(void **state)
{
	uint8_t key[32];

	(void)state;
	memset(key, 1, sizeof(key));
	write_file(key, 32, 0640);
	refused(EPERM, "open to others (mode 640)");
	write_file(key, 32, 0604);
	refused(EPERM, "chmod 600");
}

static void keys_of_another_user_are_refused(void **state)
{
	uint8_t key[32];

	(void)state;
	if (geteuid() != 0) {
		printf("SKIPPED: giving a file away needs root\n");
		skip();
	}
	memset(key, 1, sizeof(key));
	write_file(key, 32, 0600);
	assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
	refused(EPERM, "belongs to user 12345");
}

static void links_directories_and_unusable_keys_are_refused(void **state)
{
	uint8_t key[32];

	(void)state;
	assert_int_equal(symlink("/dev/zero", path), 0);
	refused(ELOOP, "symbolic link");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	refused(EPERM, "not a plain file");
	assert_int_equal(rmdir(path), 0);
	memset(key, 0, sizeof(key));
	write_file(key, 32, 0600);
	refused(EINVAL, "not a secp256k1 key");
}

static void a_missing_directory_is_reported(void **state)
{
	struct tower_key *k;

	(void)state;
	assert_int_equal(tower_key_open(&k, "/tmp/vigil-no-such-dir/key", true, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "cannot be created"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(T30_the_first_start_makes_a_key_and_the_next_loads_it),
		T(T30_a_replaced_key_stays_beside_the_new_one),
		T(without_create_a_missing_key_is_an_error),
		T(what_a_crash_left_beside_the_key_is_replaced),
		T(keys_of_the_wrong_size_are_refused_and_kept),
		T(keys_that_others_may_read_are_refused),
		T(keys_of_another_user_are_refused),
		T(links_directories_and_unusable_keys_are_refused),
		T(a_missing_directory_is_reported),
	};

	return cmocka_run_group_tests_name("teos/key", tests, NULL, NULL);
}
