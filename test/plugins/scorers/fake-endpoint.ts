/** An endpoint of the OpenAI chat protocol on loopback, which a test answers for. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: {
    readonly model: string;
    readonly messages: readonly { readonly role: string; readonly content: string }[];
    readonly [field: string]: unknown;
  };
}

export interface FakeEndpoint {
  readonly url: string;
  /** What was asked, in order. */
  readonly asked: readonly Asked[];
  close(): void;
}

/** @param answer answers a request; `n` counts them from 0 */
export async function openEndpoint(
  answer: (asked: Asked, response: ServerResponse, n: number) => void,
): Promise<FakeEndpoint> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.setEncoding('utf8');
    request.on('data', (part: string) => (text += part));
    request.on('end', () => {
      const { authorization } = request.headers;
      const one = {
        path: request.url ?? '',
        authorization,
        body: JSON.parse(text) as Asked['body'],
      };
      answer(one, response, asked.push(one) - 1);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/v1`,
    asked,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Answers as the protocol says. */
export function say(response: ServerResponse, content: string | null): void {
  response.setHeader('content-type', 'application/json');
  response.end(
    JSON.stringify({
      model: 'judge-2026-01',
      choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content } }],
      usage: { prompt_tokens: 20, completion_tokens: 1 },
    }),
  );
}

/** Refuses for now. */
export function refuse(response: ServerResponse, status: number, after = '0'): void {
  response.writeHead(status, { 'retry-after': after });
  response.end('{"error":{"message":"later"}}');
}
