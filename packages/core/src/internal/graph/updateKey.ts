/** The key of the pending write that holds the update of a task. */
export const updateKey = (node: string): string => `update:${node}`
