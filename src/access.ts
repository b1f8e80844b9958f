import { createHash, createHmac, randomBytes } from 'node:crypto';
import { jwtVerify, SignJWT } from 'jose';
import type { Core } from './core.ts';
import type { Account, ApiKey, Project } from './db.ts';
import { type FieldIssue, notFound, validation } from './errors.ts';
import { fromId, toId } from './id.ts';
import { isWellFormed, mintSecret } from './key.ts';
import { findKey, forgetKey, noteUse } from './known-keys.ts';

/** What a key or token may do. A key with `operator` comes from the command line only. */
export const scopes = ['tasks:read', 'tasks:write', 'account', 'operator'] as const;
export type Scope = (typeof scopes)[number];

/** Who asks. */
export interface Caller {
  accountId: string;
  /** Where his tasks go that name no project. */
  projectId: string;
  /** His API key, or the one that made his client token. */
  keyId: string;
  scopes: Set<Scope>;
  /** What a client token is narrowed to. Undefined: the whole account. */
  only?: { taskIds?: string[]; projectId?: string };
  /** From then on he is refused. Null: not by time. */
  expiresAt: Date | null;
}

const issuer = 'atelier';
const audience = 'atelier-client';
const tokenSeconds = { min: 60, max: 86_400, default: 900 };
const maxTokenTasks = 100;
const nameLength = 200;

/**
 * Reads an `Authorization: Bearer …` header: an API key or a client token.
 * @returns null for one that is missing, malformed, unknown, revoked or expired.
 * @throws what the database throws while it is away and the key is not remembered.
 */
export async function authenticate(core: Core, header: string | null | undefined): Promise<Caller | null> {
  const secret = /^Bearer ([\w.-]{20,4096})$/i.exec(header?.trim() ?? '')?.[1];
  if (!secret) return null;
  if (secret.split('.').length === 3) return fromToken(core, secret);
  if (!isWellFormed(secret)) return null;
  const key = await findKey(core, 'hash', sha256(secret));
  if (!key) return null;
  noteUse(core, key);
  return {
    accountId: key.accountId,
    projectId: key.projectId,
    keyId: key.id,
    scopes: new Set(key.scopes as Scope[]),
    expiresAt: key.expiresAt,
  };
}

/** Hears of keys that other processes revoke. @returns a function that ends it. */
export async function watchKeys(core: Core, revoked: () => void): Promise<() => void> {
  return core.bus.listen('keys', ({ keyId }: { keyId: string }) => {
    forgetKey(core, keyId);
    revoked();
  });
}

/**
 * Creates an account with a project called "default".
 * @throws Refusal ValidationError for a name that is empty or above 200 characters.
 */
export async function createAccount(
  core: Core,
  { name }: { name: string },
): Promise<{ account: Account; project: Project }> {
  const { projects, ...account } = await core.db.prisma.account.create({
    data: { name: checkName(name), webhookSecret: newWebhookSecret(), projects: { create: { name: 'default' } } },
    include: { projects: true },
  });
  return { account, project: projects[0]! };
}

/** Creates a project. @throws Refusal: ValidationError, NotFoundError for the account. */
export async function createProject(
  core: Core,
  { accountId, name }: { accountId: string; name: string },
): Promise<Project> {
  const trimmed = checkName(name);
  if (!(await core.db.prisma.account.findUnique({ where: { id: accountId }, select: { id: true } })))
    throw notFound('account');
  return core.db.prisma.project.create({ data: { accountId, name: trimmed } });
}

/**
 * Creates an API key.
 * @param options.projectId default: the account's oldest project.
 * @param options.mintable the scopes that it may get. Default: all, operator too.
 * @returns the row, and the secret that is kept nowhere.
 * @throws Refusal: ValidationError; NotFoundError for the account or the project.
 */
export async function createApiKey(
  core: Core,
  options: {
    accountId: string;
    name: string;
    scopes: readonly string[];
    projectId?: string;
    expiresAt?: Date | null;
    mintable?: readonly Scope[];
  },
): Promise<{ apiKey: ApiKey; secret: string }> {
  const { accountId, expiresAt = null, mintable = scopes } = options;
  const issues: FieldIssue[] = [...nameIssues(options.name), ...scopeIssues(options.scopes, mintable)];
  if (expiresAt && expiresAt.getTime() <= Date.now())
    issues.push({ path: ['expiresAt'], message: 'must lie in the future' });
  if (issues.length > 0) throw validation(issues);
  const project = await core.db.prisma.project.findFirst({
    where: { accountId, id: options.projectId },
    orderBy: { id: 'asc' },
  });
  if (!project) throw notFound(options.projectId ? 'project' : 'account');
  const secret = mintSecret();
  const hint = `${secret.slice(0, 8)}…${secret.slice(-4)}`;
  const apiKey = await core.db.prisma.apiKey.create({
    data: {
      accountId,
      projectId: project.id,
      name: options.name.trim(),
      scopes: [...new Set(options.scopes)],
      hash: sha256(secret),
      hint,
      expiresAt,
    },
  });
  return { apiKey, secret };
}

/** Revokes a key of an account, and the client tokens that it made. @returns null when the account has no such key. */
export async function revokeApiKey(core: Core, accountId: string, keyId: string): Promise<ApiKey | null> {
  await core.db.prisma.apiKey.updateMany({
    where: { id: keyId, accountId, revokedAt: null },
    data: { revokedAt: new Date() },
  });
  const apiKey = await core.db.prisma.apiKey.findFirst({ where: { id: keyId, accountId } });
  if (!apiKey) return null;
  forgetKey(core, keyId);
  core.bus.wake('keys', { keyId });
  return apiKey;
}

/**
 * Makes a client token: a JWT (HS256) that is narrowed, short-lived, and dies with the key that made it.
 * @throws Refusal: ValidationError; NotFoundError for a task or project that is none of the caller's.
 */
export async function createClientToken(
  core: Core,
  caller: Caller,
  options: { scopes: readonly string[]; taskIds?: string[]; projectId?: string; expiresInSeconds?: number },
): Promise<{ token: string; expiresAt: Date }> {
  const { taskIds, projectId, expiresInSeconds = tokenSeconds.default } = options;
  const issues = scopeIssues(options.scopes, ['tasks:read', 'tasks:write']);
  if (expiresInSeconds < tokenSeconds.min || expiresInSeconds > tokenSeconds.max) {
    issues.push({
      path: ['expiresInSeconds'],
      message: `must be from ${tokenSeconds.min} to ${tokenSeconds.max}`,
    });
  }
  if (taskIds && (taskIds.length < 1 || taskIds.length > maxTokenTasks))
    issues.push({ path: ['taskIds'], message: `must be 1 to ${maxTokenTasks} tasks` });
  if (issues.length > 0) throw validation(issues);
  const { accountId, keyId } = caller;
  if (projectId && !(await core.db.prisma.project.findFirst({ where: { id: projectId, accountId } })))
    throw notFound('project');
  if (taskIds) {
    const wanted = [...new Set(taskIds)];
    const found = await core.db.prisma.task.count({
      where: { id: { in: wanted }, accountId, ...(projectId && { projectId }) },
    });
    if (found !== wanted.length) throw notFound('task');
  }
  const expiresAt = new Date((Math.floor(Date.now() / 1000) + expiresInSeconds) * 1000);
  const token = await new SignJWT({
    scopes: [...new Set(options.scopes)],
    key: toId('ApiKey', keyId),
    tasks: taskIds?.map((id) => toId('Task', id)),
    project: projectId && toId('Project', projectId),
  })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setIssuer(issuer)
    .setAudience(audience)
    .setSubject(toId('Account', accountId))
    .setIssuedAt()
    .setExpirationTime(expiresAt)
    .sign(tokenKey(core.secret));
  return { token, expiresAt };
}

/** Gives an account a new webhook secret; the old one signs too for 24 h. @returns the new one. */
export async function rotateWebhookSecret(core: Core, accountId: string): Promise<string> {
  const secret = newWebhookSecret();
  await core.db.sql(
    `update account set previous_webhook_secret = webhook_secret, previous_webhook_secret_until = clock_timestamp() + interval '24 hours', webhook_secret = $2
     where id = $1`,
    [accountId, secret],
  );
  return secret;
}

async function fromToken(core: Core, token: string): Promise<Caller | null> {
  const verified = await jwtVerify(token, tokenKey(core.secret), { issuer, audience, algorithms: ['HS256'] }).catch(
    () => null,
  );
  if (!verified) return null;
  const { sub, exp, ...claims } = verified.payload as {
    sub?: string;
    exp?: number;
    scopes?: Scope[];
    key?: string;
    tasks?: string[];
    project?: string;
  };
  const keyId = fromId('ApiKey', claims.key ?? '');
  const accountId = fromId('Account', sub ?? '');
  const key = keyId ? await findKey(core, 'id', keyId) : null;
  if (!key || !exp || key.accountId !== accountId) return null;
  const only: Caller['only'] = {};
  if (claims.tasks) only.taskIds = claims.tasks.map((id) => fromId('Task', id)).filter((id) => id !== null);
  if (claims.project) only.projectId = fromId('Project', claims.project) ?? undefined;
  const ends = new Date(exp * 1000);
  return {
    accountId,
    projectId: only.projectId ?? key.projectId,
    keyId: key.id,
    scopes: new Set(claims.scopes),
    only: only.taskIds || only.projectId ? only : undefined,
    expiresAt: key.expiresAt && key.expiresAt < ends ? key.expiresAt : ends,
  };
}

function checkName(name: string): string {
  const issues = nameIssues(name);
  if (issues.length > 0) throw validation(issues);
  return name.trim();
}

function nameIssues(name: string): FieldIssue[] {
  const { length } = name.trim();
  const fits =
    length >= 1 &&
    length <= nameLength &&
    !name.includes('\0') &&
    (name as string & { isWellFormed(): boolean }).isWellFormed();
  return fits ? [] : [{ path: ['name'], message: `must be 1 to ${nameLength} characters` }];
}

function scopeIssues(given: readonly string[], allowed: readonly Scope[]): FieldIssue[] {
  const fits = given.length >= 1 && given.every((scope) => allowed.includes(scope as Scope));
  return fits ? [] : [{ path: ['scopes'], message: `must be one or more of ${allowed.join(', ')}` }];
}

const newWebhookSecret = (): string => `whsec_${randomBytes(32).toString('base64')}`;
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
/** Its own key: what signs URLs of files must not pass as a token. */
const tokenKey = (secret: string): Uint8Array => createHmac('sha256', secret).update('client token').digest();
