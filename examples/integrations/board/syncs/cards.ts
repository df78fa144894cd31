import { createSync } from 'bulkhead';
import { z } from 'zod';

const Card = z.object({ id: z.string(), title: z.string(), column: z.string(), assignees: z.array(z.string()) });

interface ApiCard {
  id: string;
  title: string;
  column: { name: string };
  assignees: { login: string }[];
}

const QUERY = `query cards($board: ID!, $first: Int!, $after: String) {
  board(id: $board) {
    cards(first: $first, after: $after) {
      nodes { id title column { name } assignees { login } }
      pageInfo { endCursor hasNextPage }
    }
  }
}`;

/** GraphQL: the query goes in the body, and so does the cursor, by a dotted name. */
export default createSync({
  description: 'Copies the cards of a board',
  frequency: 'every 30m',
  models: { Card },
  metadata: z.object({ board: z.string() }),

  exec: async (bulkhead) => {
    const { board } = await bulkhead.getMetadata();
    const pages = bulkhead.paginate<ApiCard>({
      method: 'POST',
      endpoint: '/graphql',
      data: { query: QUERY, variables: { board, first: 2 } },
      retries: 3,
      paginate: {
        type: 'cursor',
        cursor_name_in_request: 'variables.after',
        cursor_path_in_response: 'data.board.cards.pageInfo.endCursor',
        response_path: 'data.board.cards.nodes',
      },
    });
    for await (const page of pages) {
      const cards = page.map(({ id, title, column, assignees }) => ({
        id,
        title,
        column: column.name,
        assignees: assignees.map(({ login }) => login),
      }));
      await bulkhead.batchSave(cards, 'Card');
    }
  },
});
