import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { ConfigError } from '../errors.ts';

/** Who runs a program that refuses root. Both undefined: this process's own user. */
export interface User {
  uid?: number;
  gid?: number;
}

/** The user `postgres` where there is one, else `nobody`, when this process is root; no account is made for it. */
export function unprivilegedUser(): User {
  if (process.getuid?.() !== 0) return {};
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  const account =
    accounts.find((fields) => fields[0] === 'postgres') ?? accounts.find((fields) => fields[0] === 'nobody');
  if (!account)
    throw new ConfigError(
      'Postgres does not run as root, and this system has neither a user postgres nor nobody; set DATABASE_URL',
    );
  return { uid: Number(account[2]), gid: Number(account[3]) };
}

/**
 * A command as that user would run it. Where the program or its `data` lies in a folder that only root may enter, as
 * /root, `setpriv` leaves the program the right to pass through.
 * @throws ConfigError when there is no way through.
 */
export function runAs(
  user: User,
  program: { command: string; args: string[]; data: string },
): User & { command: string; args: string[] } {
  const { command, args, data } = program;
  const shut = [dirname(command), dirname(data)].find((folder) => !isOpen(folder));
  if (user.uid === undefined || !shut) return { ...user, command, args };
  if (spawnSync('setpriv', ['--version']).status !== 0) {
    throw new ConfigError(
      `Postgres does not run as root, and no other user may enter ${shut}; move the project to another folder, or set DATABASE_URL`,
    );
  }
  const passage = ['--inh-caps=+dac_override', '--ambient-caps=+dac_override', '--securebits=+no_setuid_fixup'];
  const identity = [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups'];
  return { command: 'setpriv', args: [...identity, ...passage, command, ...args] };
}

/** Whether everybody may pass through a folder and all folders above it. */
function isOpen(folder: string): boolean {
  return (statSync(folder).mode & 0o001) !== 0 && (dirname(folder) === folder || isOpen(dirname(folder)));
}
