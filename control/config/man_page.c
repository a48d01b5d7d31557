/* man_page.c - a program of the build: prints vigil.conf(5), whose list of settings is the table of keys. */
#include "config/config_priv.h"

#include <string.h>

static const char head[] =
	".Dd November 22, 2026\n"
	".Dt VIGIL.CONF 5\n"
	".Os Vigil\n"
	".Sh NAME\n"
	".Nm vigil.conf\n"
	".Nd settings of the Vigil watchtower\n"
	".Sh DESCRIPTION\n"
	".Xr vigild 8\n"
	"reads the file that\n"
	".Fl -config\n"
	"names.\n"
	"It has\n"
	".Li [section]\n"
	"headers and\n"
	".Li key=value\n"
	"lines; a\n"
	".Ql #\n"
	"or\n"
	".Ql \\&;\n"
	"at the start of a line begins a comment.\n"
	"The same settings on the command line,\n"
	".Fl - Ns Ar section . Ns Ar key Ns = Ns Ar value ,\n"
	"win over the file.\n"
	"An unknown section or key, a value that does not fit, and a key given twice are "
	"errors, told with the line.\n"
	"A leading\n"
	".Pa ~/\n"
	"is the home directory.\n"
	"Settings are read at start only.\n"
	".Pp\n"
	"A file that holds\n"
	".Li rpc.password\n"
	"or\n"
	".Li tor.password\n"
	"and that every user may read is refused, and so is any file that every user may write.\n";

static const char tail[] = ".Sh FILES\n"
			   ".Bl -tag -width Ds\n"
			   ".It Pa vigil.conf.sample\n"
			   "Every setting at its default, commented out.\n"
			   ".El\n"
			   ".Sh SEE ALSO\n"
			   ".Xr vigil-cli 1 ,\n"
			   ".Xr vigild 8\n";

/* Text in the middle of a line: only backslashes mean something there. */
static void put(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\\')
			fputs("\\e", stdout);
		else
			putchar(*text);
		/* A new sentence begins a new line. */
		if (text[0] == '.' && text[1] == ' ' && text[2] == ' ')
			putchar('\n'), text += 2;
	}
}

int main(void)
{
	fputs(head, stdout);
	for (unsigned i = 0; i < config_key_cnt; i++) {
		const struct config_key *k = &config_keys[i];

		if (i == 0 || strcmp(k->section, config_keys[i - 1].section) != 0)
			printf("%s.Sh [%s]\n.Bl -tag -width Ds\n", i == 0 ? "" : ".El\n", k->section);
		printf(".It Li %s Ns = Ns Ar ", k->name);
		printf("\"%s\"\n", k->unit);
		put(k->help);
		fputs("\nThe default is ", stdout);
		if (*k->dflt != '\0')
			printf("%s", k->dflt);
		else
			fputs("empty", stdout);
		if (k->max != 0)
			printf(", the range %llu to %llu", (unsigned long long)k->min,
			       (unsigned long long)k->max);
		puts(".");
	}
	fputs(".El\n", stdout);
	fputs(tail, stdout);
	return fflush(stdout) == 0 ? 0 : 1;
}
