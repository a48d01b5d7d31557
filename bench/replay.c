/* vigil-replay: recorded and synthetic chains, looked at, made, and served as a Bitcoin node would. */
#include <stdio.h>
#include <string.h>

#include "inspect/inspect.h"
#include "serve/serve.h"
#include "synth/synth.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
	{"inspect", inspect_main, "say what is in block files"},
	{"serve", serve_main, "be a Bitcoin node that serves block files"},
	{"synth", synth_main, "write a deterministic regtest chain with planted breaches"},
};
enum { COMMAND_CNT = sizeof(commands) / sizeof(commands[0]) };

static void help(FILE *f)
{
	fputs("usage: vigil-replay COMMAND [options]\n\n", f);
	for (unsigned i = 0; i < COMMAND_CNT; i++)
		fprintf(f, "  %-8s  %s\n", commands[i].name, commands[i].what);
	fputs("\n  --help, --version\n\nvigil-replay COMMAND --help tells the options of a "
	      "command.\n",
	      f);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		help(stderr);
		return 2;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		help(stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("vigil-replay " VIGIL_VERSION);
		return 0;
	}
	for (unsigned i = 0; i < COMMAND_CNT; i++) {
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "vigil-replay: no command '%s'; see vigil-replay --help\n", argv[1]);
	return 2;
}
