/** Calls a function of a Python module in this folder. */
import { python } from './python.ts';

/**
 * @param call module and function
 * @param args arguments by keyword
 */
export const peer = <T>(call: `${string}.${string}`, args: object): Promise<T> =>
  python<T>(`import ${call.split('.')[0]}\nanswer(${call}(**args))`, args);
