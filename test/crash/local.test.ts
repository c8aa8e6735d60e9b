import { describe } from 'node:test'
import { testCells } from './quick-cells.ts'

describe('a migration in which something is killed: one machine', () => {
  testCells('local')
})
