/* config_file.c - vigild's configuration file: whatever is in it, loading ends with settings within their limits or with one
   printable sentence, and twice the same. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"

static enum config_verdict load(struct config *c, char *path, char *why)
{
	char *argv[] = {(char[]){"vigild"}, (char[]){"--config"}, path, NULL};

	return config_load(c, 3, argv, why);
}

static void check_settings(const struct config *c)
{
	assert(network_get(c->network) != NULL);
	assert(c->data_dir[0] != '\0' && strnlen(c->data_dir, sizeof(c->data_dir)) < sizeof(c->data_dir));
	assert(c->link_socket[0] != '\0' &&
	       strnlen(c->link_socket, sizeof(c->link_socket)) < sizeof(c->link_socket));
	assert(strcmp(c->link_socket, c->control_socket) != 0);
	assert(c->node_cnt <= CONFIG_NODES_MAX);
	for (unsigned i = 0; i < c->node_cnt; i++) {
		assert(c->nodes[i].host[0] != '\0' && c->nodes[i].port != 0);
		assert(strnlen(c->nodes[i].host, sizeof(c->nodes[i].host)) < sizeof(c->nodes[i].host));
	}
	assert(c->api_port <= UINT16_MAX && c->tor_onion_port >= 1 && c->tor_onion_port <= UINT16_MAX);
	assert(c->api_threads >= 1 && c->api_threads <= 64);
	assert(c->overdue_depth <= 1000 && c->alert_timeout_s >= 1);
	assert(c->log_level < LOG_LVL_CNT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz)
{
	static struct config a, b;
	static int fd = -1;
	char path[64], why[CONFIG_WHY_SZ], again[CONFIG_WHY_SZ];
	enum config_verdict v;

	if (sz > 65536)
		return 0;
	if (fd < 0) {
		setenv("HOME", "/home/vigil", 1);
		fd = memfd_create("vigil.conf", MFD_CLOEXEC);
		assert(fd >= 0 && fchmod(fd, 0600) == 0);
	}
	assert(ftruncate(fd, 0) == 0 && pwrite(fd, data, sz, 0) == (ssize_t)sz);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	v = load(&a, path, why);
	assert(v == CONFIG_RUN || v == CONFIG_BAD);
	if (v == CONFIG_RUN) {
		check_settings(&a);
	} else {
		assert(why[0] != '\0' && strlen(why) < CONFIG_WHY_SZ);
		for (const char *p = why; *p != '\0'; p++)
			assert(*p >= 0x20 && *p <= 0x7e);
	}
	assert(load(&b, path, again) == v && (v == CONFIG_RUN || strcmp(why, again) == 0));
	return 0;
}
