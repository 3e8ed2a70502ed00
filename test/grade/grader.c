/*
 * grader.c - grades an allocator: gives its program (module `graded`) the traces of module `job`, one call at a time, and looks
 * at everything after each. Prints lines for tools/grade.py, each beginning with the job's key, which the program can't know.
 */
#include "grader.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "work.h"

#define THREADS 4u

const struct job *job;
const struct module *graded;

void say(const char *format, ...)
{
	char text[480];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	printf("\n%s %s\n", job->key, text);
}

/* What the runner costs without an allocator. */
static void calibrate(const struct module *none, unsigned lanes)
{
	if (!subject_start(none, TRACE_QUOTA, lanes))
		panic("calibration: %s", trouble);
	subject_calibrate();
	subject_end();
}

static void work(const struct module *none, unsigned number)
{
	calibrate(none, THREADS);
	if (!subject_start(none, TRACE_QUOTA, THREADS))
		panic("calibration: %s", trouble);
	threads_calibrate(number);
	subject_end();
	threads_run(number);
}

/* parts=traces,exhaustion,threads, or names of workloads: not all of them. */
static bool part(const char *name)
{
	char list[128];

	return !boot_option("parts", list, sizeof(list)) || strstr(list, name);
}

int main(void)
{
	static struct module m[3];
	unsigned lanes = info->ncpus > 1 ? THREADS : 1;

	if (module_named("job", &m[0]) < 0 || module_named("graded", &m[1]) < 0 || module_named("none", &m[2]) < 0)
		panic("modules job, graded and none are needed");
	job = m[0].data;
	graded = &m[1];
	if (m[0].bytes < sizeof(*job) || job->magic != JOB_MAGIC || job->ntraces > JOB_TRACES)
		panic("the job is none");
	if (part("traces")) {
		calibrate(&m[2], lanes);
		for (uint64_t i = 0; i < job->ntraces; i++)
			trace_run(&job->trace[i], lanes);
	}
	if (part("exhaustion")) {
		calibrate(&m[2], 1);
		exhaust_run();
	}
	for (unsigned i = 0; i < WORKS; i++)
		if (part("threads") || part(works[i].name))
			work(&m[2], i);
	say("end");
	return 0;
}
