import type { Reporter, TestModule } from 'vitest/node';

/** Makes `N passed, N failed, N skipped` the run's last line. A file that cannot be loaded counts as one failed test. */
export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) count[test.result().state]++;
      for (const suite of [module, ...module.children.allSuites()]) if (suite.errors().length > 0) count.failed++;
    }
    // What never ran, as after a failed beforeAll, was not passed.
    const skipped = count.skipped + count.pending;
    process.once('exit', () =>
      process.stdout.write(`${count.passed} passed, ${count.failed} failed, ${skipped} skipped\n`),
    );
  }
}
