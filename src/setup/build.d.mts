/**
 * Returns the text of src/spec/pipeline.generated.ts, made from the schema of a project.
 * @param project the project's folder
 */
export function pipelineTypes(project: string): Promise<string>;
