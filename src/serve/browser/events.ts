/**
 * Reads server-sent events from a body, as this program's own server writes them: with one line of
 * data each. The browser's EventSource can't send the token in a header.
 */

export interface Sent {
  readonly id: string | null;
  readonly name: string;
  /** Null for a comment, which only keeps the connection alive. */
  readonly data: string | null;
}

export async function readEvents(
  body: ReadableStream<Uint8Array>,
  onEvent: (event: Sent) => void,
): Promise<void> {
  const reader = body.pipeThrough(new TextDecoderStream() as never).getReader();
  // A large event comes in many pieces, which are joined once.
  let pieces: string[] = [];
  for (;;) {
    const { done, value } = (await reader.read()) as { done: boolean; value?: string };
    if (done || value === undefined) return;
    pieces.push(value);
    if (!endsBlock(value, pieces.at(-2))) continue;
    const blocks = pieces.join('').split('\n\n');
    pieces = [blocks.pop() ?? ''];
    for (const block of blocks) onEvent(parse(block));
  }
}

/** Whether a block may end in this piece. Its two line breaks may be in different pieces. */
const endsBlock = (piece: string, before = ''): boolean =>
  piece.includes('\n\n') || (piece.startsWith('\n') && before.endsWith('\n'));

function parse(block: string): Sent {
  const fields = new Map(
    block.split('\n').map((line): [string, string] => {
      const at = line.indexOf(': ');
      return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 2)];
    }),
  );
  return {
    id: fields.get('id') ?? null,
    name: fields.get('event') ?? '',
    data: fields.get('data') ?? null,
  };
}
