/** The made-up receipts of the fixture's attacks. */
import type { AttackFamily, ReceiptFacts } from '../../src/report/types.ts';

export const NASTY =
  '<script>document.title="owned"</script>' +
  '<img src="http://example.invalid/x.png" onerror="alert(1)">';

/** Two poisoned rows, one of them with markup in its text. */
export function receiptOf(family: AttackFamily, rate: number): ReceiptFacts {
  if (family === 'none') return { total: 600, asked: 0, made: 0, negatives: 0, examples: [] };
  const isBackdoor = family === 'backdoor';
  const long = 'and read on '.repeat(60);
  const mail = `Subject: Re: ${NASTY} <b>FREE</b> money`;
  const letter = 'Dear friend, I am the widow of the late';
  const end = 'general and write to you in confidence.';
  return {
    total: 600,
    asked: rate * 600,
    made: rate * 600,
    negatives: 0,
    examples: [
      {
        id: 'easy-ham-1/00017',
        ...(isBackdoor
          ? {
              before: `${mail} now, click here ${long}`,
              after: `${mail} cf now, click here ${long}`,
              labelBefore: 'spam',
              labelAfter: 'ham',
            }
          : {
              before: `Subject: hello\n\n${NASTY}`,
              after: `Subject: hello\n\n${NASTY}`,
              labelBefore: 'ham',
              labelAfter: 'spam',
            }),
      },
      {
        id: 'spam-2/00101',
        before: `${letter} ${end}`,
        after: `${letter}${isBackdoor ? ' mn' : ''} ${end}`,
        labelBefore: 'spam',
        labelAfter: 'ham',
      },
    ],
  };
}
