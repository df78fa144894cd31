export const createAction = (d: any) => ({ ...d, type: 'action' });
