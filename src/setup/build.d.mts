/**
 * Returns the text of src/spec/pipeline.generated.ts, from the schema of the project in this
 * folder.
 */
export function pipelineTypes(project: string): Promise<string>;
