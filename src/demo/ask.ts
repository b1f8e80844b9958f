import { type Client, RefusedError } from '../client.ts';

/** The one field of a query whose answer is a union. @throws RefusedError for a member of it that is no success. */
export async function ask(client: Client, query: string, variables: object): Promise<any> {
  const [answer] = Object.values<any>(await client.request(query, variables));
  if (!answer.code) return answer;
  const issues = (answer.issues ?? []).map(({ path, message }: any) => `\n  ${path.join('.')}: ${message}`).join('');
  throw new RefusedError({ code: answer.code, message: `${answer.message}${issues}` });
}
