/**
 * Writes `src/spec/pipeline.generated.ts` from the schema, the only source of the spec's
 * shape.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** @param {string} project @returns {Promise<string>} */
export async function pipelineTypes(project) {
  const { compileFromFile } = await import('json-schema-to-typescript');
  return compileFromFile(join(project, 'schemas', 'pipeline.schema.json'), {
    bannerComment: '// Made from schemas/pipeline.schema.json by `npm run build`; do not edit.',
    additionalProperties: false,
    ignoreMinAndMaxItems: true,
    cwd: join(project, 'schemas'),
  });
}

/**
 * Writes the types anew if the schema has changed. They are committed, so that a checkout without
 * the generator, a development dependency, still builds.
 * @param {string} project
 */
export async function generateTypes(project) {
  const schema = join(project, 'schemas', 'pipeline.schema.json');
  const target = join(project, 'src', 'spec', 'pipeline.generated.ts');
  if (
    !existsSync(schema) ||
    !existsSync(join(project, 'node_modules', 'json-schema-to-typescript'))
  )
    return;
  // Compared by content, not by time, because a checkout writes files in any order.
  const digest = join(project, 'dist', '.schema');
  const { sha256 } = await import('./closure.mjs');
  const wanted = sha256(readFileSync(schema));
  if (existsSync(digest) && existsSync(target) && readFileSync(digest, 'utf8') === wanted) return;
  const text = await pipelineTypes(project);
  if (!existsSync(target) || readFileSync(target, 'utf8') !== text) writeFileSync(target, text);
  writeFileSync(digest, wanted);
}
