/* suite.c - registers and runs tests; remembers refusal sentences. */
#include "suite.h"
#include "types.h"
#include "world.h"

static struct { const char *file; struct CMUnitTest test; } all[400];
static unsigned nall;

void suite_add(const char *file, const char *sentence, void (*test)(void **))
{
	if (nall == LENGTH(all))
		abort();
	all[nall].file = file;
	all[nall++].test = (struct CMUnitTest){.name = sentence, .test_func = test};
}

_Noreturn void suite_fail(const char *file, int line, const char *format, ...)
{
	char text[500];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	print_error("%s:%d: %s\n", file, line, text);
	_fail(file, line);
	abort();
}

_Noreturn void panic(const char *format, ...)
{
	char text[400];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	suite_fail("panic", 0, "%s", text);
}

uint64_t suite_env(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	return text ? strtoul(text, NULL, 0) : otherwise;
}

/* ---- Refusals ---- */

static const char *reached[200], *last = "";
static unsigned nreached;

void refusal_note(unsigned error, const char *sentence)
{
	(void)error;
	last = sentence;
	for (unsigned i = 0; i < nreached; i++)
		if (strcmp(reached[i], sentence) == 0)
			return;
	if (nreached < LENGTH(reached))
		reached[nreached++] = sentence;
}

const char *suite_sentence(void) { return last; }
void suite_forget(void) { last = ""; }

static const char *const *source_files, *const *allow_list;

static bool listed(const char *sentence, const char *const *list)
{
	for (; list && *list; list++)
		if (strcmp(*list, sentence) == 0)
			return true;
	return false;
}

static bool was_reached(const char *sentence)
{
	for (unsigned i = 0; i < nreached; i++)
		if (strcmp(reached[i], sentence) == 0)
			return true;
	return false;
}

/* One REFUSE sentence of a source: is it wrong that it was, or wasn't, reached? */
static bool wrong_sentence(const char *file, const char *sentence)
{
	bool allowed = listed(sentence, allow_list), hit = was_reached(sentence);
	if (allowed == hit)
		print_error("%s: %s: %s\n", file, hit ? "on the allow-list, but reached" : "never reached", sentence);
	return allowed == hit;
}

static void every_sentence(__attribute__((unused)) void **state)
{
	char line[1000];
	unsigned sites = 0, wrong = 0;
	for (const char *const *file = source_files; *file; file++) {
		FILE *f = fopen(*file, "r");
		if (!f)
			suite_fail(__FILE__, __LINE__, "%s: not found: run from the top of the repository", *file);
		while (fgets(line, sizeof line, f))
			for (char *at = line; (at = strstr(at, "REFUSE(")) && (at = strchr(at, '"')); sites++) {
				char *end = strchr(++at, '"');
				assert_non_null(end);
				*end = 0;
				wrong += wrong_sentence(*file, at);
				at = end + 1;
			}
		fclose(f);
	}
	print_message("# %u refusal sites, %u sentences reached\n", sites, nreached);
	assert_true(sites > 10);
	assert_int_equal(wrong, 0);
}

/* ---- Running ---- */

static int fresh_world(__attribute__((unused)) void **state)
{
	world_make(1);
	return 0;
}

int suite_main(const char *name, const char *const *sources, const char *const *allowed)
{
	static struct CMUnitTest mine[LENGTH(all) + 1];
	size_t n = 0, length = strlen(name);
	for (unsigned i = 0; i < nall; i++) {
		const char *file = all[i].file;
		if (strncmp(file, "test_", 5) == 0)
			file += 5;
		if (strncmp(file, name, length) == 0 && (file[length] == '_' || file[length] == '.')) {
			mine[n] = all[i].test;
			mine[n++].setup_func = fresh_world;
		}
	}
	source_files = sources;
	allow_list = allowed;
	if (sources)
		mine[n++] = (struct CMUnitTest){.name = "every refusal sentence was reached", .test_func = every_sentence};
	return _cmocka_run_group_tests(name, mine, n, NULL, NULL);
}
