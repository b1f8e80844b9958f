/**
 * A text as searches compare it, about Unicode's NFKC_Casefold: in lower case, é and ﬁ in one spelling each, without what is invisible;
 * signs beyond ASCII are spaces. Postgres is not left to do it: in the locale C it folds ASCII alone, and takes any other character, as a
 * curly quotation mark, for a letter.
 */
export function foldText(text: string): string {
  return text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/\p{Default_Ignorable_Code_Point}+/gu, '')
    .replace(/[^\p{L}\p{M}\p{N}\p{ASCII}]+/gu, ' ');
}
