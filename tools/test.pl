#!/usr/bin/perl
# tools/test.pl COMMAND...: run test commands side by side (each prints TAP), one line for each as prove does, the end
# of the output of those that fail, and at the very last "N passed, N failed". Output is kept in build/test-logs.
use strict;
use warnings;
use TAP::Harness;

my $logs = 'build/test-logs';
$ENV{PERL_TEST_HARNESS_DUMP_TAP} = $logs;
$ENV{CMOCKA_MESSAGE_OUTPUT}      = 'TAP';
chomp(my $cpus = `nproc`);

my $harness = TAP::Harness->new({
	jobs  => $cpus,
	merge => 1,       # sanitizers and asserts report on stderr
	timer => 1,
	color => -t STDOUT,
	# No test may hang: guest tests have a shorter limit of their own, and say more.
	exec  => sub { ['timeout', '-k', '5', '600', split ' ', $_[1]] },
});
my $result = $harness->runtests(@ARGV);

# A bad exit, a missing plan or a crash counts as one failure, where no `not ok` says so already; planned tests that
# never ran are failures each.
my ($passed, $failed, @bad) = (scalar $result->passed, 0);
for my $test ($result->descriptions) {
	my ($parser) = $result->parsers($test);
	my $bad     = $parser->failed;
	my $missing = ($parser->tests_planned // 0) - $parser->tests_run;
	$bad += $missing if $missing > 0;
	$bad ||= 1 if $parser->has_problems;
	$failed += $bad;
	next unless $bad;
	print "\n--- $test: the end of $logs/$test\n";
	system 'tail', '-n', '60', "$logs/$test";
	push @bad, $test;
}
# The last lines are what is seen of a long log: they name what failed.
for my $test (@bad) {
	print "FAILED $test\n";
	system 'grep', '-h', '-m', '10', '^not ok', "$logs/$test";
}
$failed ||= 1 unless $passed; # nothing ran
print "$passed passed, $failed failed\n";
exit($failed != 0);
