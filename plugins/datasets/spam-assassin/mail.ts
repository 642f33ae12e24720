import { compile } from 'html-to-text';
import PostalMime from 'postal-mime';
import { UserFault } from '../../../src/api.ts';

const htmlToText = compile({
  wordwrap: false,
  selectors: [
    { selector: 'a', options: { ignoreHref: true } },
    { selector: 'img', format: 'skip' },
    { selector: 'table', format: 'block' }, // mail uses tables for layout
    ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6'].map((selector) => ({
      selector,
      options: { uppercase: false },
    })),
  ],
});

/** Puts a space between the cells of a table: else `<td>a</td><td>b</td>` would read `ab`. */
const spacedCells = (html: string): string => html.replace(/<\/?t[dh]\b/gi, ' $&');

/** Matches the HTML pages in mails that were sent as plain text. */
const LOOKS_LIKE_HTML = /<\s*(html|body|table|font|div)\b[^>]*>/i;

/**
 * Returns subject and body on one line; for an HTML mail, the text that it shows. Empty if there
 * is no letter and no digit.
 * @param bytes an RFC 822 message, in whatever character sets its parts declare
 * @param name the mail's name in messages
 * @throws UserFault if the mail can't be parsed, for example because its parts are nested too
 *   deeply
 */
export async function mailText(bytes: Uint8Array, name: string): Promise<string> {
  const mail = await PostalMime.parse(bytes).catch((error: unknown) => {
    throw new UserFault(`${name} cannot be parsed as a mail: ${(error as Error).message}`);
  });
  const plain = mail.text ?? '';
  const html = plain.trim() === '' ? (mail.html ?? '') : LOOKS_LIKE_HTML.test(plain) ? plain : '';
  return tidy(`${mail.subject ?? ''}\n${html === '' ? plain : htmlToText(spacedCells(html))}`);
}

/** Returns the text on one line, cleaned; '' if it has neither a letter nor a digit. */
function tidy(text: string): string {
  const tidied = text
    .replace(/[\p{Cc}\p{Cf}\p{Co}\uFFFD]+/gu, ' ') // control and undecodable characters
    .replace(/([^\p{L}\p{N}\s])\1{3,}/gu, '$1$1$1') // "------" → "---"
    .replace(/\s+/gu, ' ')
    .trim();
  return /[\p{L}\p{N}]/u.test(tidied) ? tidied : '';
}

/**
 * Returns the letters of a text in lower case, or the text itself if it has none. Two mails with
 * the same letters count as one, because spam is sent again with other numbers and punctuation.
 */
export function lettersOf(text: string): string {
  const only = text.toLowerCase().replace(/[^\p{L}]+/gu, '');
  return only === '' ? text : only;
}
