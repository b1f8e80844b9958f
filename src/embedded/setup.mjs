// `node src/embedded/setup.mjs <task> [arguments]`: makes a fresh checkout ready, then does the task in this same process.
// Runs before anything is installed, so it uses nothing but Node itself. The scripts of package.json `exec` it, as the
// shell that npm runs them in would keep a signal that is sent to npm alone from it.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const neededNode = [20, 19];

const tsc = 'node_modules/typescript/bin/tsc';
const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/vitest.config.ts'];
const prisma = 'node_modules/prisma/build/index.js';

/** Task → the program, with the arguments that come before the user's. */
const programs = {
  atelier: ['src/cli.ts'],
  start: ['src/cli.ts', 'start'],
  dev: ['src/cli.ts', 'start', '--watch'],
  migrate: ['src/cli.ts', 'migrate'],
  demo: ['src/demo.ts'],
  test: vitest,
  bench: ['test/bench/index.ts'],
  schema: ['src/graph/print.ts'],
};

/** Task → its steps, each a program of its own. All run, also after one that failed, so that one run tells all. */
const sequences = {
  generate: [],
  build: [
    // What a file that is gone had become would be packed for ever.
    ['clean', ['-e', "fs.rmSync('dist', { recursive: true, force: true })"]],
    ['dist', [tsc, '-p', '.config/tsconfig.build.json']],
    ['declarations for plugins', [tsc, '-p', '.config/tsconfig.types.json']],
  ],
  // Tests come last, so that their count is the last line.
  check: [
    ['format and lint', ['node_modules/@biomejs/biome/bin/biome', 'check', '.']],
    ['types', [tsc, '--noEmit', '-p', '.']],
    [
      'arrows',
      [
        'node_modules/dependency-cruiser/bin/dependency-cruise.mjs',
        '--config',
        '.config/arrows.cjs',
        'src',
        'adapters',
      ],
    ],
    ['tests, also whether schema.graphql is fresh', vitest],
  ],
};

const [task, ...rest] = process.argv.slice(2);
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < neededNode[0] || (major === neededNode[0] && minor < neededNode[1])) {
  stop(`Atelier needs Node ${neededNode.join('.')} or newer; this is ${process.versions.node}. See https://nodejs.org`);
}
if (!programs[task] && !sequences[task]) {
  stop(
    `no such task: ${task}; there are ${Object.keys({ ...programs, ...sequences })
      .sort()
      .join(', ')}`,
    2,
  );
}
process.chdir(root);
endWithNpm();
await prepare();
if (programs[task]) await become(programs[task]);
else process.exit(await runAll(sequences[task]));

/** When npm is killed it cannot pass that on: its passing is the signal. */
function endWithNpm() {
  if (!process.env.npm_lifecycle_event) return;
  const npm = process.ppid;
  setInterval(() => process.ppid !== npm && process.kill(process.pid, 'SIGTERM'), 250).unref();
}

async function prepare() {
  if (isInstalled() && isGenerated()) return;
  const unlock = await lock();
  try {
    if (!isInstalled()) await install();
    if (!isGenerated()) await generate();
  } finally {
    unlock();
  }
}

/** Whether node_modules holds what package-lock.json names. Optional packages may be for other platforms. */
function isInstalled() {
  const installed = readJson('node_modules/.package-lock.json')?.packages;
  if (!installed) return false;
  return Object.entries(readJson('package-lock.json').packages).every(([path, wanted]) => {
    if (path === '') return true;
    const found = installed[path];
    return found
      ? found.version === wanted.version && found.integrity === wanted.integrity
      : wanted.optional || wanted.devOptional;
  });
}

async function install() {
  say(existsSync('node_modules') ? 'Dependencies have changed: installing …' : 'Installing dependencies …');
  const npm = process.env.npm_execpath?.endsWith('npm-cli.js') ? [process.execPath, process.env.npm_execpath] : ['npm'];
  const command = [...npm, 'ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'];
  // npm does not heed other signals while it unpacks; what it leaves is installed anew the next time.
  const code = await run(command, { stdio: ['ignore', 2, 2] }, { signal: 'SIGKILL' });
  if (code !== 0) stop('npm ci failed; its words stand above', code);
}

function isGenerated() {
  return existsSync('src/generated/.stamp') && readFileSync('src/generated/.stamp', 'utf8') === generatedFrom();
}

function generatedFrom() {
  const version = readJson('node_modules/prisma/package.json')?.version;
  return createHash('sha256').update(`${version}\n`).update(readFileSync('prisma/schema.prisma')).digest('hex');
}

async function generate() {
  // Prisma's command would download an engine that `generate` never calls; any program that exists satisfies it.
  // Prisma finds its generators on the PATH.
  const env = {
    ...process.env,
    PATH: `${join(root, 'node_modules', '.bin')}${delimiter}${process.env.PATH}`,
    PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
    PRISMA_HIDE_UPDATE_MESSAGE: '1',
  };
  let output = '';
  const heard = (text) => {
    output += text;
  };
  const code = await run([process.execPath, prisma, 'generate'], { env, stdio: ['ignore', 'pipe', 'pipe'] }, { heard });
  if (code !== 0) stop(`prisma generate failed:\n${output}`, code);
  writeFileSync('src/generated/.stamp', generatedFrom());
}

/** One process at a time prepares; others wait. A lock whose owner is gone is taken over. */
async function lock() {
  const file = join('.atelier', 'setup.lock');
  mkdirSync('.atelier', { recursive: true });
  for (;;) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' });
      const unlock = () => rmSync(file, { force: true });
      process.once('exit', unlock);
      return unlock;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const owner = Number(existsSync(file) && readFileSync(file, 'utf8'));
    if (owner && !isRunning(owner)) rmSync(file, { force: true });
    else await wait(200);
  }
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** @returns the exit code: 0 when every step succeeded. */
async function runAll(steps) {
  const failed = [];
  for (const [name, program] of steps) {
    say(`── ${name}`);
    const code = await run([process.execPath, ...program], { stdio: ['ignore', 'inherit', 'inherit'] });
    if (code !== 0) failed.push(name);
  }
  if (failed.length > 0) say(`failed: ${failed.join(', ')}`);
  return failed.length > 0 ? 1 : 0;
}

/** Runs a program to its end, in a process group of its own: whatever ends this process ends all of it. */
function run(command, options, { signal = 'SIGTERM', heard } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command[0], command.slice(1), { detached: true, ...options });
    const signals = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };
    const forward = (received) => {
      process.kill(-child.pid, signal);
      child.once('exit', () => process.exit(signals[received]));
    };
    for (const name of Object.keys(signals)) process.once(name, forward);
    if (heard) for (const stream of [child.stdout, child.stderr]) stream.on('data', heard);
    child.once('error', (error) => stop(`${command[0]}: ${error.message}`));
    child.once('close', (code) => {
      for (const name of Object.keys(signals)) process.off(name, forward);
      resolve(code ?? 1);
    });
  });
}

/** Turns this process into the program: no second process stands between a terminal's signals and it. */
async function become([file, ...before]) {
  process.argv = [process.execPath, join(root, file), ...before, ...rest];
  if (file.endsWith('.ts')) (await import('tsx/esm/api')).register();
  await import(pathToFileURL(join(root, file)).href);
}

function readJson(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
}

function say(line) {
  process.stderr.write(`${line}\n`);
}

function stop(line, code = 1) {
  say(line);
  process.exit(code);
}
