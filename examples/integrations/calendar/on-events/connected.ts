import { createOnEvent } from 'bulkhead';

/** Runs once a connection is made: what every other function needs to know is asked for here. */
export default createOnEvent({
  description: 'Notes which calendar a new connection is about',
  event: 'post-connection-creation',
  exec: async (bulkhead) => {
    const { data } = await bulkhead.get<{ id: string }>({ endpoint: '/calendars/primary', retries: 3 });
    await bulkhead.updateMetadata({ calendar: data.id });
  },
});
