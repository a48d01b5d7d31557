#include "rescan/eal.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>
#include <rte_eal.h>
#include <rte_errno.h>

#define MEMORY_MB          32u
#define MEMORY_MB_A_THREAD 2u

static unsigned first_cpu(const cpu_set_t *set)
{
	for (unsigned i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, set))
			return i;
	return 0;
}

bool eal_start(unsigned threads, const char **why)
{
	static char text[][24] = {"vigil-rescan",
				  "--no-huge",
				  "--no-shconf",
				  "--no-pci",
				  "--no-telemetry",
				  "--log-level=*:error",
				  "-m",
				  "",
				  "--lcores",
				  "",
				  ""};
	char *argv[sizeof(text) / sizeof(text[0])];
	cpu_set_t set;
	int rc;

	if (sched_getaffinity(0, sizeof(set), &set) != 0) {
		*why = "cannot find out which CPUs there are";
		return false;
	}
	snprintf(text[7], sizeof(text[7]), "%u", MEMORY_MB + threads * MEMORY_MB_A_THREAD);
	snprintf(text[9], sizeof(text[9]), "0@%u", first_cpu(&set));
	snprintf(text[10], sizeof(text[10]), "--file-prefix=rescan%d", (int)getpid());
	for (unsigned i = 0; i < sizeof(text) / sizeof(text[0]); i++)
		argv[i] = text[i];
	rc = rte_eal_init(sizeof(text) / sizeof(text[0]), argv);
	sched_setaffinity(0, sizeof(set), &set);
	if (rc < 0) {
		*why = rte_strerror(rte_errno);
		return false;
	}
	rmdir(rte_eal_get_runtime_dir()); /* empty: nothing here is shared with another process */
	return true;
}
