/** Module state: survives in a process that is used twice. */
export const kept: string[] = [];
