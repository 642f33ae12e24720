/** `dosimeter serve`: a page that follows runs. */
import path from 'node:path';
import { defined } from '../base/defined.ts';
import { runsDir } from '../run/state-folder.ts';
import { serve } from '../serve/server.ts';
import { onInterrupt, out, paintErr, remark, say } from './terminal.ts';

export interface ServeCommandOptions {
  readonly port?: number;
  readonly ipv6?: boolean;
  readonly store?: string;
}

/** Serves until it is interrupted. Only the address that it prints first holds the token. */
export async function serveCommand(options: ServeCommandOptions): Promise<number> {
  const runs = runsDir();
  const serving = await serve({
    runs,
    ...defined({ port: options.port }),
    ...(options.store === undefined ? {} : { store: path.resolve(options.store) }),
    ipv6: options.ipv6 === true,
    onFault: (error) =>
      say(paintErr.red(error instanceof Error ? (error.stack ?? error.message) : String(error))),
  });
  out(serving.url);
  remark(
    `shows the runs in ${path.relative('', runs)}, and changes nothing; ` +
      'who has this address can read them; Ctrl-C ends it',
  );
  await new Promise<void>((resolve) => {
    const release = onInterrupt(() => {
      release();
      resolve();
    });
  });
  await serving.close();
  return 0;
}
