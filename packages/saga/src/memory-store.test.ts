import { MemoryStore } from './memory-store.ts'
import { storeSuite } from './testing/store-suite.ts'

storeSuite('memory', async () => ({ store: new MemoryStore(), close: async () => {} }))
