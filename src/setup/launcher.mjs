#!/usr/bin/env node
/**
 * `dosimeter`: builds what has changed, then runs `dist/<build>/cli.js` in this process. Nearly every start finds
 * nothing changed, so this file imports little and looks at each source with one stat.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import nodeModule from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { changedSources, ifWritable, readRecord } from './build-record.mjs';

const project = fileURLToPath(new URL('../../', import.meta.url));

/** @returns {Promise<string>} the build to run, made anew if sources have changed since */
async function currentBuild() {
  const record = readRecord(project);
  // An installed package has no sources to differ from.
  if (!existsSync(join(project, 'src', 'cli.ts')) && record !== null) return record.build;
  const built = record !== null && existsSync(join(project, 'dist', record.build, 'registry.json'));
  const changed = built ? changedSources(project, record) : [];
  if (built && changed.length === 0) return record.build;
  const rest = changed.length > 2 ? ` and ${changed.length - 2} more` : '';
  console.error(built ? `dosimeter: building again, ${changed.slice(0, 2).join(', ')}${rest} changed` : 'dosimeter: building');
  const { build } = await import('./build.mjs');
  return build(project);
}

async function main() {
  if (process.argv.length === 3 && (process.argv[2] === '--version' || process.argv[2] === '-V')) {
    console.log(JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')).version);
    return;
  }
  if (!existsSync(join(project, 'node_modules', '.package-lock.json')) && existsSync(join(project, 'package-lock.json'))) {
    console.error('dosimeter: the dependencies are not installed; run `npm run setup`');
    process.exitCode = 2;
    return;
  }
  let name;
  try {
    name = await currentBuild();
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'BuildFault') throw error;
    console.error(error.message);
    process.exitCode = 2;
    return;
  }
  const dir = join(project, 'dist', name);
  // A build with a live user is not pruned, so that a long run keeps its own code while sources are edited.
  const mark = join(dir, 'users', String(process.pid));
  ifWritable(() => {
    mkdirSync(join(dir, 'users'), { recursive: true });
    writeFileSync(mark, '');
    process.on('exit', () => rmSync(mark, { force: true }));
  });
  // Node 22 and newer: compiled code is kept between starts.
  nodeModule.enableCompileCache?.(join(project, 'dist', '.compile-cache'));
  await import(pathToFileURL(join(dir, 'cli.js')).href);
}

await main();
