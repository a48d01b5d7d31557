#include "metrics/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static bool read_file(const char *path, char *out, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, out, room - 1);
	close(fd);
	if (n <= 0)
		return false;
	out[n] = '\0';
	return true;
}

/* Seconds since the epoch at which the machine booted; 0: unknown. */
static uint64_t boot_time(void)
{
	static char text[32768];
	const char *at = read_file("/proc/stat", text, sizeof(text)) ? strstr(text, "\nbtime ") : NULL;

	return at != NULL ? strtoull(at + 7, NULL, 10) : 0;
}

/* Fields of /proc/self/stat, counted from 1 as proc(5) does; the name (2) may hold anything but ends with ')'. */
static void put_stat(struct expo *e)
{
	static uint64_t booted;
	char text[1024];
	char *p = read_file("/proc/self/stat", text, sizeof(text)) ? strrchr(text, ')') : NULL;
	uint64_t field[25] = {0};
	double hz = (double)sysconf(_SC_CLK_TCK);

	if (p == NULL || p[1] != ' ' || p[2] == '\0')
		return;
	p += 3; /* behind the state, field 3 */
	for (unsigned i = 4; i < 25; i++)
		field[i] = strtoull(p, &p, 10);
	if (booted == 0)
		booted = boot_time();
	expo_family(e, "process_cpu_seconds_total", EXPO_COUNTER, "Processor time used, user and system.");
	expo_f64(e, NULL, (double)(field[14] + field[15]) / hz);
	expo_one(e, "process_threads", EXPO_GAUGE, "Threads.", field[20]);
	if (booted != 0) {
		expo_family(e, "process_start_time_seconds", EXPO_GAUGE,
			    "Start of the process, in seconds since the epoch.");
		expo_f64(e, NULL, (double)booted + (double)field[22] / hz);
	}
	expo_one(e, "process_virtual_memory_bytes", EXPO_GAUGE, "Virtual memory.", field[23]);
	expo_one(e, "process_resident_memory_bytes", EXPO_GAUGE, "Resident memory.",
		 field[24] * (uint64_t)sysconf(_SC_PAGESIZE));
}

static void put_descriptors(struct expo *e)
{
	DIR *d = opendir("/proc/self/fd");
	struct rlimit r;
	uint64_t n = 0;

	if (d != NULL) {
		while (readdir(d) != NULL)
			n++;
		closedir(d);
		/* Not "." and "..", and not the one that reads. */
		expo_one(e, "process_open_fds", EXPO_GAUGE, "Open file descriptors.", n > 3 ? n - 3 : 0);
	}
	if (getrlimit(RLIMIT_NOFILE, &r) == 0)
		expo_one(e, "process_max_fds", EXPO_GAUGE, "Limit of open file descriptors.", r.rlim_cur);
}

void process_metrics(struct expo *e)
{
	put_stat(e);
	put_descriptors(e);
}
