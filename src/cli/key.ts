import { createAccount, createApiKey, type Scope } from '../access.ts';
import type { Core } from '../core.ts';
import { ConfigError } from '../errors.ts';
import { fromId, toId } from '../id.ts';

export interface MadeKey {
  secret: string;
  /** Public id of the account that it belongs to. */
  accountId: string;
}

/**
 * Makes an API key. The only way to one with the scope operator.
 * @param options.account a public id, or the exact name of one account. @param options.isNew make an account of that name.
 * @throws ConfigError when there is no such account, or several of that name; Refusal for a scope that there is not.
 */
export async function makeKey(
  core: Core,
  options: { account: string; isNew: boolean; name: string; scopes: readonly Scope[]; expiresAt?: Date },
): Promise<MadeKey> {
  const { account, name, scopes, expiresAt } = options;
  const accountId = options.isNew
    ? (await createAccount(core, { name: account })).account.id
    : await findAccount(core, account);
  const { secret } = await createApiKey(core, { accountId, name, scopes, expiresAt });
  return { secret, accountId: toId('Account', accountId) };
}

async function findAccount(core: Core, account: string): Promise<string> {
  const id = fromId('Account', account);
  const where = id ? { id } : { name: account };
  const found = await core.db.prisma.account.findMany({ where, select: { id: true }, take: 2 });
  if (!found[0]) throw new ConfigError(`no account is called "${account}"; --new-account makes one`);
  if (found[1]) throw new ConfigError(`several accounts are called "${account}"; give the id of one`);
  return found[0].id;
}
