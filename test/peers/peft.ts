/** Calls a function of peft_peer.py. */
import { fileURLToPath } from 'node:url';
import { python } from './python.ts';

const here = fileURLToPath(new URL('.', import.meta.url));

/** @param args by keyword */
export const peer = <T>(call: string, args: object): T =>
  python<T>(`sys.path.insert(0, args['here'])\nsys.dont_write_bytecode = True\nimport peft_peer\nanswer(peft_peer.${call}(**args['args']))`, { here, args });
