/** Calls a function of a Python module in this folder. */
import { fileURLToPath } from 'node:url';
import { python } from './python.ts';

const here = fileURLToPath(new URL('.', import.meta.url));

/**
 * @param call module and function
 * @param args arguments by keyword
 */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- Python's answer
export function peer<T>(call: `${string}.${string}`, args: object): T {
  const [module] = call.split('.');
  return python<T>(
    "sys.path.insert(0, args['here'])\nsys.dont_write_bytecode = True\nimport " +
      `${module}\nanswer(${call}(**args['args']))`,
    { here, args },
  );
}
